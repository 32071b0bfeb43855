"""The replies that the page shows are read as it says."""

from __future__ import annotations

import re
from pathlib import Path

from handshake.models.reply import parse_reply

EXAMPLE = re.compile(r"<!-- reply: (\w+) -->\n````text\n(.*?)````", re.DOTALL)


def test_the_examples_are_read_as_the_page_says(root: Path) -> None:
    page = (root / "docs" / "replies.md").read_text(encoding="utf-8")
    examples = dict(EXAMPLE.findall(page))
    complete = parse_reply(examples["complete"], mt_id="MT-001", writable=("shop/pricing.py",))
    assert complete.signal.claimed_complete and [edit.form for edit in complete.edits] == ["search_replace"]
    assert complete.signal.evidence[0].criterion == "`VAT_PERCENT` is 19."
    blocked = parse_reply(examples["blocked"], mt_id="MT-001", writable=("shop/pricing.py",))
    assert (blocked.signal.blocked, blocked.signal.blocked_need) == (True, "shop/schema.py")
