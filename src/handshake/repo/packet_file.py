"""A packet in the working tree is a file; what is none is refused. Contract: `packets-and-gates.md`, Activation.

A pipe, a socket, a device or a folder may bear a packet's name, and a link may lead to one.
"""

from __future__ import annotations

import re
from pathlib import Path

from handshake.config.regular_file import NotRegular, read_regular_file
from handshake.domain.errors import EnvironmentProblem, PacketRefused


def read_packet_file(root: Path, path: str) -> bytes | None:
    """A packet's bytes, or None where nothing is there.

    Args:
        path: relative to `root`.

    Raises:
        PacketRefused: what is there is no regular file.
        EnvironmentProblem: it cannot be read.
    """
    try:
        return read_regular_file(root / path)
    except NotRegular:
        raise PacketRefused(
            f"{path} is not a regular file", next_step=f"{_listed(path)}, then move it away"
        ) from None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {path}: {error.strerror or error}", next_step=_listed(path)) from error


def odd_packets(folder: Path) -> list[Path]:
    """What bears a packet's name in the packet folder and is no regular file, by name."""
    if not folder.is_dir():
        return []
    return sorted(place for place in folder.glob("WP-*.md") if not place.is_file())


def refuse_odd_revisions(root: Path, folder: str, base_wp_id: str) -> None:
    """Whether another revision may run instead is judged by what stands in its file.

    Raises:
        PacketRefused: that is no regular file.
    """
    revision = re.compile(re.escape(base_wp_id) + r"(?:-v\d+)?$")
    for place in odd_packets(root / folder):
        if revision.match(place.stem):
            path = f"{folder}/{place.name}"
            raise PacketRefused(
                f"{path}, a revision of {base_wp_id}, is not a regular file",
                next_step=f"{_listed(path)}, then move it away",
            )


def _listed(path: str) -> str:
    return f"ls -ld {path}"
