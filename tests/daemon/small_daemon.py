"""The real `handshake daemon` of its own interpreter, whose runs are a git command each. Started by `test_memory`."""

import subprocess
import sys

from handshake.cli.main import run_command
from handshake.daemon.children import Children


def begin(self, *arguments):
    return subprocess.Popen([part.replace("{wp}", arguments[-1]) for part in sys.argv[2:]])


if __name__ == "__main__":
    Children._begin = begin
    sys.exit(run_command(["-C", sys.argv[1], "daemon"]))
