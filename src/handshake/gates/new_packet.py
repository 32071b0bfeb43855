"""A new packet from the template. Contract: `packets-and-gates.md`, Around a packet; `interface.md`, `new`."""

from __future__ import annotations

import re

from handshake.domain.errors import UsageError
from handshake.domain.packet import WP_ID_PATTERN

_REVISION = re.compile(r"-v\d+$")
_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_DATE = re.compile(r"(?<!\d)(?:19|20)\d{2}[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)")


def new_packet(template: str, *, wp_id: str, date: str, requestor: str, **more: str) -> str:
    """The template with what is known filled in; the placeholders that a person must fill stay.

    Args:
        date: as it shall stand in the packet, e.g. `2026-01-22T08:43:59.016Z`.
        more: further placeholders by name.

    Raises:
        UsageError: the id is not of the form `WP-…`, or holds a date.
    """
    if not re.match(WP_ID_PATTERN, wp_id) or _DATE.search(wp_id):
        raise UsageError(
            f"`{wp_id}` is no packet id: WP-… with letters, digits, `.`, `_` and `-`, and no date",
            next_step="handshake new WP-1-Demo-v1",
        )
    known = {
        "wp_id": wp_id,
        "base_wp_id": _REVISION.sub("", wp_id),
        "date": date,
        "requestor": _one_line(requestor),
        **{name: _one_line(value) for name, value in more.items()},
    }
    return _PLACEHOLDER.sub(lambda found: known.get(found.group(1), found.group(0)), template)


def _one_line(text: str) -> str:
    return " ".join(text.encode("ascii", "replace").decode("ascii").split())
