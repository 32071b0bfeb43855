"""`engine.context` / `build_pack`: the compiler of prompts as an engine of the tool bus. Contract: `tool-bus.md`.

It stands here because the bus is a floor below the compiler, and only the loop knows both.
"""

from __future__ import annotations

from handshake.context.compile import compile_context
from handshake.context.request import CompiledContext, ContextRequest
from handshake.domain.artifact import handle_for
from handshake.domain.errors import CapabilityViolation, UsageError
from handshake.domain.operation import Output, PlannedOperation, Sidecar, sidecar_of
from handshake.loop.broken_machine import refuse_broken_machine
from handshake.toolbus.bus import ToolBus
from handshake.toolbus.engine import Answer, EngineContext
from handshake.toolbus.operations import context_operation


class ContextEngine:
    """Compiles one prompt for each operation; what an operation asks for waits here under its id."""

    def __init__(self) -> None:
        self._asked: dict[str, ContextRequest] = {}
        self._made: dict[str, CompiledContext] = {}

    def compiled(
        self, bus: ToolBus, op_id: str, request: ContextRequest, profile_id: str
    ) -> tuple[CompiledContext, Sidecar]:
        """The prompt, compiled through the bus, and how it came to be.

        Raises:
            PromptInjectionFound, ContextGuardFailed: a guard blocked it.
            EnvironmentProblem: a template is missing or wrong.
            CapabilityViolation: a gate denied it.
            UsageError: the engine could not make it.
        """
        operation = context_operation(
            op_id,
            step_id=request.step_id,
            mt_id=request.mt.mt_id,
            model_id=request.model_id,
            iteration=request.iteration,
            profile_id=profile_id,
        )
        self.expect(op_id, request)
        try:
            result = refuse_broken_machine(bus.run(operation, stage="iteration"))
        finally:
            self._asked.pop(op_id, None)
        if result.status != "succeeded":
            kind = CapabilityViolation if result.status == "denied" else UsageError
            raise kind("; ".join(error.message for error in result.errors))
        return self._made.pop(op_id), sidecar_of(result, result.outputs[0].handle)

    def expect(self, op_id: str, request: ContextRequest) -> None:
        """Keep what the operation of this id will compile."""
        self._asked[op_id] = request

    def __call__(self, op: PlannedOperation, context: EngineContext, /) -> Answer:
        """Act on a checked operation. Raises as `compile_context`."""
        made = compile_context(self._asked[op.op_id])
        self._made[op.op_id] = made
        data = (made.published_prompt or made.envelope.full_prompt).encode("utf-8")
        path = f"{context.artifact_prefix}/steps/{op.params['step_id']}/prompt.md"
        output = Output(handle=handle_for("prompt_payload", path, data), data=data)
        return Answer("succeeded", outputs=(output,), evidence=(output.handle,))
