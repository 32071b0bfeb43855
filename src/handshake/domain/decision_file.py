"""A human's decision as a file: read, and held against the job as it stands. Contract: `loop.md`, Human decisions."""

from __future__ import annotations

from pydantic import ValidationError

from handshake.domain.canonical import plain
from handshake.domain.decision import HumanDecision
from handshake.domain.errors import DecisionRefused
from handshake.domain.job import Job
from handshake.domain.states import JobStatus, is_terminal

_MEND = "commit a corrected file, or use: handshake decide"


def decision_number(path: str) -> int | None:
    """The number in a path `jobs/<job_id>/decisions/<nnn>.yaml`, or None for any other path."""
    parts = path.split("/")
    if len(parts) != 4 or (parts[0], parts[2]) != ("jobs", "decisions"):
        return None
    stem = parts[3].removesuffix(".yaml")
    return int(stem) if stem != parts[3] and stem.isdigit() else None


def decision_text(decision: HumanDecision) -> bytes:
    """The file's bytes."""
    import yaml

    return yaml.safe_dump(plain(decision), sort_keys=True, allow_unicode=True).encode("utf-8")


def read_decision(data: bytes, where: str) -> HumanDecision:
    """The record in a decision file.

    Raises:
        DecisionRefused: it is no YAML, or no decision.
    """
    import yaml

    try:
        return HumanDecision.model_validate(yaml.safe_load(data))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DecisionRefused(f"{where} is not YAML: {' '.join(str(error).split())}", next_step=_MEND) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise DecisionRefused(
            f"{where}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}", next_step=_MEND
        ) from None


def check_decision(decision: HumanDecision, job: Job, where: str) -> HumanDecision:
    """The decision, if it fits the job as it stands: the right job and number, and something there to decide.

    Raises:
        DecisionRefused: it is wrong or stale, and why.
    """
    status = f"handshake status {job.wp_id}"
    if (decision.wp_id, decision.job_id) != (job.wp_id, job.job_id):
        raise DecisionRefused(f"{where} answers another gate: one of job {decision.job_id}", next_step=_MEND)
    if is_terminal(job.status):
        raise DecisionRefused(f"{where} comes too late: {job.wp_id} is {job.status.value}", next_step=status)
    if job.status is JobStatus.AWAITING_USER:
        takes_back = decision.decision == "cancel" and decision.number > job.gate_number  # of an answer given before
        if decision.number != job.gate_number and not takes_back:
            stale = "was answered already" if decision.number < job.gate_number else "is not there yet"
            raise DecisionRefused(
                f"{where} answers another gate: {decision.number} {stale}, {job.wp_id} stands at {job.gate_number}",
                next_step=_MEND,
            )
        if decision.decision == "pause":
            raise DecisionRefused(f"{where}: {job.wp_id} waits already", next_step=f"handshake decide {job.wp_id} …")
        _check_level(decision, job, where)
        return decision
    if decision.decision not in ("pause", "cancel"):
        raise DecisionRefused(
            f"{where} says {decision.decision}, and {job.wp_id} waits at no gate: it is not taken", next_step=status
        )
    if decision.number <= job.gate_number:
        raise DecisionRefused(
            f"{where} answers another gate: {decision.number} was answered already", next_step=status
        )
    return decision


def _check_level(decision: HumanDecision, job: Job, where: str) -> None:
    if decision.level is not None and job.execution_policy.stops_for_human(decision.level):
        raise DecisionRefused(
            f"{where}: level {decision.level} of the chain is a hard gate", next_step="name a level below it"
        )
