"""A result that says that the machine is broken is nobody's failed iteration: it stops the run."""

from __future__ import annotations

from handshake.domain.errors import EnvironmentProblem, ResourceExhausted
from handshake.domain.operation import EngineResult


def refuse_broken_machine(result: EngineResult) -> EngineResult:
    """The result, unless the engine could not work at all: that is nobody's failed iteration.

    Raises:
        ResourceExhausted: the disk or memory is full.
        EnvironmentProblem: a program or the sandbox is missing.
    """
    for kind, mend in ((ResourceExhausted, "free disk space"), (EnvironmentProblem, "handshake doctor")):
        for error in result.errors:
            if error.code == kind.code:
                raise kind(error.message, next_step=f"{mend}, then run again")
    return result
