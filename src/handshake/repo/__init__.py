"""Git and the disk: one door to git, durable writes, tracking branch, worktrees, locks. Contract: `state.md`."""
