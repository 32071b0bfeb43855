"""`handshake` and `python -m handshake`. A git hook takes the short way: it need not wait for the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn


def entry() -> NoReturn:
    """Run the command line; leave with the contract's exit code."""
    arguments = sys.argv[1:]
    if len(arguments) > 1 and arguments[0] == "hook" and not arguments[1].startswith("-"):
        import gc

        gc.disable()  # the process is gone before there is garbage worth the search
        from handshake.cli.hook_run import run_hook

        sys.exit(run_hook(arguments[1], arguments[2:], Path()))
    from handshake.cli.main import entry as command_line

    command_line()


if __name__ == "__main__":
    entry()
