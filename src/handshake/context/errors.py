"""Why a prompt is not used. Contract: `context.md`, Guards."""

from __future__ import annotations

from handshake.domain.errors import HandshakeError, JobPoisoned


class ContextGuardFailed(HandshakeError):
    """A guard rejected the compiled context: the iteration does not happen. `guard` and `reason` say why."""

    code = "HSK-412-CONTEXT"

    def __init__(self, guard: str, reason: str, *, next_step: str = "") -> None:
        super().__init__(f"{guard}: {reason}", next_step=next_step)
        self.guard = guard
        self.reason = reason


class PromptInjectionFound(JobPoisoned):
    """Retrieved text tries to instruct the model: the job is poisoned. `line_number` is 1-based."""

    code = "HSK-410-INJECTION"

    def __init__(self, *, file: str, line: int, pattern: str, excerpt: str) -> None:
        super().__init__(
            f"PromptInjectionGuard: {file}:{line} holds {pattern!r}: {excerpt}",
            next_step=f"look at {file}:{line}; if the words are lawful, write `- CX-573F-01: `{file}`: {pattern}, "
            "REASON` under WAIVERS GRANTED in the packet and start a new job",
        )
        self.guard = "PromptInjectionGuard"
        self.file = file
        self.line_number = line
        self.pattern = pattern
        self.excerpt = excerpt
