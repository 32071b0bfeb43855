"""The conformance checks of every engine of a run, that of the compiler too. Contract: `tool-bus.md`, Conformance.

The bus knows the bodies of its own floor; what `engine.context` compiles for its check is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from handshake.context.request import ContextRequest
from handshake.domain.clock import Clock
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, Plan, VerificationSpec
from handshake.domain.operation import PlannedOperation
from handshake.loop.build_pack import ContextEngine
from handshake.toolbus import conformance
from handshake.toolbus.conformance import ConformanceFinding, EngineFromAbove
from handshake.toolbus.engine import Answer, EngineContext
from handshake.toolbus.operations import CONTEXT, context_operation
from handshake.toolbus.sandbox import Sandbox

_MT = "MT-001"
_STEP = f"{_MT}_iter-001"


def check_engines(sandbox: Sandbox, clock: Clock) -> tuple[ConformanceFinding, ...]:
    """Run every check on every engine. Raises as `toolbus.conformance.check_engines`."""
    return conformance.check_engines(sandbox, clock, _FROM_ABOVE)


def failing_engines(sandbox: Sandbox, clock: Clock) -> Mapping[str, str]:
    """Engines not to be called, and why; asked once per process. Raises as `check_engines`."""
    return conformance.failing_engines(sandbox, clock, _FROM_ABOVE)


def _sample(op_id: str) -> PlannedOperation:
    return context_operation(op_id, step_id=_STEP, mt_id=_MT, model_id="conformance", iteration=1)


def _compiled(op: PlannedOperation, context: EngineContext, /) -> Answer:
    engine = ContextEngine()
    engine.expect(op.op_id, _request(context.worktree, context.clock))
    return engine(op, context)


def _request(worktree: Path, clock: Clock) -> ContextRequest:
    mt = MicroTaskDefinition(
        mt_id=_MT,
        name="Create conforms.txt",
        scope="A file that says that the engine conforms",
        files=FileAccess(create=("conforms.txt",)),
        actions=("Write conforms.txt",),
        verify=(VerificationSpec(command="true"),),
        done=(DoneCriterion(description="conforms.txt is there", verification="evidence_required"),),
        token_budget=1024,
    )
    return ContextRequest(
        job_id="conformance",
        wp_id="WP-1-Conformance",
        step_id=_STEP,
        mt=mt,
        plan=Plan(wp_id="WP-1-Conformance", definitions=(mt,), waves=((_MT,),), definitions_hash="0" * 64),
        worktree=worktree,
        model_id="conformance",
        context_window=8192,
        reserved_output_tokens=1024,
        count_tokens=lambda text: len(text.encode("utf-8")) // 2,
        created_at=clock.now(),
        policy_profile_id="micro_task_executor_v1",
    )


_FROM_ABOVE: Mapping[str, EngineFromAbove] = {CONTEXT: EngineFromAbove(body=_compiled, sample=_sample)}
