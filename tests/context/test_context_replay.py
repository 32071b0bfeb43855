"""A recorded prompt compiles again to the same hashes, and a changed tree is seen."""

from __future__ import annotations

import dataclasses

import pytest

from handshake.context.compile import ContextGuardFailed, compile_context
from handshake.context.replay import compile_again


def test_the_same_tree_gives_the_same_prompt(request_for):
    request = request_for()
    stored = compile_context(request)
    assert compile_again(request, stored.snapshot) == stored


def test_another_tree_or_request_is_refused(request_for, tree):
    request = request_for()
    stored = compile_context(request).snapshot
    with pytest.raises(ContextGuardFailed, match="prompt_envelope_hashes"):
        compile_again(dataclasses.replace(request, iteration=2), stored)
    (tree / "calc/stats.py").write_text("def mean(values):\n    return 1\n")
    with pytest.raises(ContextGuardFailed, match="candidates are not the stored ones"):
        compile_again(request, stored)
