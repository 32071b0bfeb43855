"""Every error a person can meet: what, where, and the next command; an exit code for scripts.

They are raised below and caught once, at the edge (`handshake.cli.main`). Contract: `interface.md`,
"Exit codes" and the last paragraph.
"""

from __future__ import annotations

from enum import IntEnum

from handshake.domain.packet_names import on_one_line


class ExitCode(IntEnum):
    """What the process says to a script. Contract: `interface.md`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    WAITS_FOR_HUMAN = 3
    CANCELLED = 4
    POISONED = 5
    ENVIRONMENT = 7
    LOCK_HELD = 75
    INTERRUPTED = 130


class HandshakeError(Exception):
    """The root of all errors of this package.

    Args:
        what: one sentence without a final stop, naming the thing and the place.
        next_step: what to do now, a command where there is one.
    """

    exit_code = ExitCode.FAILED
    code = "HSK-500"

    def __init__(self, what: str, *, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def line(self) -> str:
        """The one line shown to a person."""
        first = " ".join(self.what.split())
        return on_one_line(f"{first}. Next: {self.next_step}" if self.next_step else first)


class UsageError(HandshakeError):
    """The call or its input is wrong."""

    exit_code = ExitCode.USAGE
    code = "HSK-400"


class ConfigError(UsageError):
    """A configuration file or variable is wrong; the sentence names file, line and key."""

    code = "HSK-400-CONFIG"


class PacketRefused(UsageError):
    """A task packet cannot run as it is. `findings` holds every problem, each `file:line: what; mend`."""

    code = "HSK-400-PACKET"

    def __init__(self, what: str, *, findings: tuple[str, ...] = (), next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.findings = findings


class JobRefused(UsageError):
    """A job input or its definitions break a rule; nothing was started."""

    code = "HSK-400-JOB"


class DecisionRefused(UsageError):
    """A human's decision is wrong, or comes too late; nothing was changed."""

    code = "HSK-400-DECISION"


class NotTrusted(UsageError):
    """A repository's configuration would start a program and is not trusted yet."""

    code = "HSK-403-TRUST"


class EnvironmentProblem(HandshakeError):
    """Something of the machine is missing or down: git, an endpoint, a program, a sandbox, disk space."""

    exit_code = ExitCode.ENVIRONMENT
    code = "HSK-503"


class ResourceExhausted(EnvironmentProblem):
    """Disk or memory ran out. Contract: `loop.md`, error category `resource_exhausted`."""

    code = "HSK-507"


class LockHeld(HandshakeError):
    """Another live process holds the lock."""

    exit_code = ExitCode.LOCK_HELD
    code = "HSK-423"


class WaitsForHuman(HandshakeError):
    """The job stands at a hard gate or a pause point."""

    exit_code = ExitCode.WAITS_FOR_HUMAN
    code = "HSK-202"


class JobCancelled(HandshakeError):
    """The job was cancelled by a person."""

    exit_code = ExitCode.CANCELLED
    code = "HSK-499"


class JobPoisoned(HandshakeError):
    """The job met something that must never be retried by itself (prompt injection, a runaway)."""

    exit_code = ExitCode.POISONED
    code = "HSK-410"


class IllegalTransition(HandshakeError):
    """A state may not follow another; the table in `domain.states` says which may. Nothing was changed."""

    code = "HSK-409"


class StateCorruption(HandshakeError):
    """A committed artifact does not parse, or its hash does not fit."""

    code = "HSK-422"


class StaleOwner(HandshakeError):
    """The tracking branch moved under this process: somebody else owns the run now. It must stop."""

    exit_code = ExitCode.LOCK_HELD
    code = "HSK-412"


class RefGone(StaleOwner):
    """A branch of the run was deleted under this process; nobody else owns the run. `sha`: where it stood."""

    exit_code = ExitCode.FAILED
    code = "HSK-410-REF"

    def __init__(self, ref: str, sha: str) -> None:
        branch = ref.removeprefix("refs/heads/")
        back = f"git branch {branch} {sha}" if branch != ref else f"git update-ref {ref} {sha}"
        super().__init__(f"{ref} is gone: it was deleted at {sha[:12]}", next_step=f"put it back: {back}")


class InvalidEvent(HandshakeError):
    """An event of unknown id or wrong shape. Contract: `events.md`."""

    code = "HSK-400-INVALID-EVENT"


class RecorderFailed(HandshakeError):
    """The journal or the query store could not be written or read. Contract: `events.md`."""

    code = "HSK-500-DB"


class CapabilityViolation(HandshakeError):
    """An operation reached beyond what it may. Contract: `loop.md`, error category `capability_violation`."""

    code = "HSK-4001"


class WorkRefused(HandshakeError):
    """A gate refuses what a run is about to commit; nothing was committed."""

    code = "HSK-409-GATE"


class ModelFailed(HandshakeError):
    """A model call failed.

    `category` is `model_timeout` or `model_error`; `transient` says whether the same call may
    succeed later (429, 5xx, connection). Contract: `loop.md`, Errors.
    """

    exit_code = ExitCode.ENVIRONMENT
    code = "HSK-502"

    def __init__(self, what: str, *, category: str, transient: bool, next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.category = category
        self.transient = transient


class PromptTooLong(ModelFailed):
    """The prompt does not fit the window that is in force: another model may have a larger one."""

    def __init__(self, what: str, *, next_step: str) -> None:
        super().__init__(what, category="model_error", transient=False, next_step=next_step)
