"""The grammar of a tiny model's reply: where its evidence may lie, and the claim alone."""

from __future__ import annotations

from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, VerificationSpec
from handshake.loop.frame import framing_grammar

FILE = b'"""Prices."""\n\nRATE = 7\n\n\ndef gross(net):\n    """With tax."""\n    return net + net * RATE // 100\n'


def task(*criteria: str) -> MicroTaskDefinition:
    return MicroTaskDefinition(
        mt_id="MT-001",
        name="n",
        scope="s",
        files=FileAccess(modify=("shop/pricing.py",)),
        actions=("a",),
        verify=(VerificationSpec(command="pytest"),),
        done=tuple(DoneCriterion(description=c, verification="evidence_required") for c in criteria),
        token_budget=512,
    )


def test_evidence_lies_where_the_criterion_points():
    grammar = framing_grammar(
        task("The constant `RATE` is 19.", "`gross` rounds.", "It is fast."), "shop/pricing.py", FILE
    )
    assert '( "3-3" | "3-4" )' in grammar
    assert '( "6-8" | "6-9" )' in grammar
    assert '( "1-8" | "1-9" )' in grammar
    assert "```python" in grammar


def test_the_claim_alone_names_the_lines_of_now():
    grammar = framing_grammar(task("`gross` rounds."), "shop/pricing.py", FILE, claim_only=True)
    assert grammar.startswith("root ::= complete\n")
    assert '"6-8"' in grammar
    assert "6-9" not in grammar


def test_a_new_file_has_no_places_yet():
    assert "number" in framing_grammar(task("`gross` rounds."), "shop/new.py", None)
