"""Compiling the context: plan, retrieve, guard, assemble. Contract: `context.md`."""
