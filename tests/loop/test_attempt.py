"""What a task asks for, read from its criteria."""

from __future__ import annotations

import pytest

from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, VerificationSpec
from handshake.loop.attempt import asks_for_deletion


@pytest.mark.parametrize(
    ("criterion", "asks"),
    [
        ("The function `old_price` is removed from `shop.py`.", True),
        ("`shop.py` no longer defines `old_price`.", True),
        ("Dead code in `shop.py` is gone.", True),
        ("Delete the branch for Python 2.", True),
        ("`remove` in `cart.py` returns the count.", False),
        ("`shop.py` drops nothing it was given.", True),
        ("The constant is 19.", False),
        ("The dropdown shows all shops.", False),
        ("delete.py passes its tests.", False),
    ],
)
def test_a_deletion_is_asked_for_in_words_of_the_packet(criterion: str, asks: bool) -> None:
    mt = MicroTaskDefinition(
        mt_id="MT-001",
        name="n",
        scope="s",
        files=FileAccess(modify=("shop.py",)),
        actions=("a",),
        verify=(VerificationSpec(command="pytest"),),
        done=(DoneCriterion(description=criterion, verification="evidence_required"),),
        token_budget=1024,
    )
    assert asks_for_deletion(mt) == asks
