"""The engines keep the bus's promises, and one that breaks a promise is named."""

from __future__ import annotations

from typing import Any

import pytest

from handshake.domain.clock import SystemClock
from handshake.toolbus import bus
from handshake.toolbus.conformance import check_engines
from handshake.toolbus.engine import Answer
from handshake.toolbus.sandbox import OffSandbox


def test_every_engine_conforms() -> None:
    findings = check_engines(OffSandbox(), SystemClock())
    assert [finding for finding in findings if not finding.passed] == []
    assert {finding.engine_id for finding in findings} == {"engine.shell", "engine.workspace"}
    assert len(findings) == 16


def test_an_engine_that_breaks_a_promise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(op: Any, context: Any) -> Answer:
        return Answer(status="succeeded")

    monkeypatch.setattr(bus, "_ENGINES", {"engine.shell": lazy, "engine.workspace": lazy})
    failed = {(f.engine_id, f.check) for f in check_engines(OffSandbox(), SystemClock()) if not f.passed}
    assert ("engine.shell", "evidence") in failed
    assert ("engine.workspace", "evidence") in failed
