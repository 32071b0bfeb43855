"""The flight recorder: the journal that is written, and the queries that read it. Contract: `events.md`."""
