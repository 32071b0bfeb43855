"""Where the files that ship with Handshake are: inside the wheel, or at the top of a source checkout."""

from __future__ import annotations

from pathlib import Path

from handshake.domain.errors import EnvironmentProblem

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(*parts: str) -> Path:
    """The path of a shipped file or folder, e.g. `shipped("templates", "packet.md")`.

    Raises:
        EnvironmentProblem: the installation lacks it.
    """
    names = ("handshake.example", *parts[1:]) if parts and parts[0] == ".handshake.example" else parts
    for root, names_there in ((_PACKAGE / "_shipped", names), (_PACKAGE.parent.parent, parts)):
        found = root.joinpath(*names_there)
        if found.exists():
            return found
    raise EnvironmentProblem(
        f"the installation lacks {'/'.join(parts)}", next_step="reinstall: pip install --force-reinstall handshake"
    )
