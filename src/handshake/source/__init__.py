"""Reading a tree of source files: languages as data, outlines, imports. Contract: `context.md`, `micro-tasks.md`."""
