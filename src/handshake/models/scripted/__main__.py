"""`python -m handshake.models.scripted SCRIPT --port N [--count-file F]`; with `--child READY` a child of ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handshake.domain.errors import HandshakeError
from handshake.models.children import announce, child_settings
from handshake.models.scripted.script import load_script
from handshake.models.scripted.server import ScriptedServer


def main(arguments: list[str]) -> int:
    """The entry point: serve until killed, or until the parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m handshake.models.scripted", description=__doc__)
    parser.add_argument("script", nargs="?", type=Path, help="the YAML script")
    parser.add_argument("--port", type=int, default=0, help="the port on loopback (default: a free one)")
    parser.add_argument("--count-file", type=Path, help="append one JSON line for each completed chat call")
    parser.add_argument("--child", type=Path, metavar="READY", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    script, count_file = options.script, options.count_file
    if options.child is not None:
        settings = child_settings(options.child)
        script = Path(settings["script"])
        count_file = Path(settings["count_file"]) if settings.get("count_file") else None
    if script is None:
        parser.error("a script is needed")
    try:
        server = ScriptedServer(load_script(script), port=options.port, count_file=count_file)
    except HandshakeError as failure:
        print(f"error: {failure.line()}", file=sys.stderr)  # noqa: T201
        return int(failure.exit_code)
    if options.child is not None:
        announce(options.child, server.address)
    else:
        print(f"serving {server.address}/v1", flush=True)  # noqa: T201
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
