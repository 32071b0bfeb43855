"""`python -m handshake`."""

from handshake.cli.main import entry

entry()
