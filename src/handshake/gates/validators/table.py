"""The validators by name: one file and one row each; a project's own are commands of its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from handshake.domain.clock import Clock, SystemClock
from handshake.domain.errors import UsageError
from handshake.domain.packet import Finding
from handshake.domain.settings import Settings
from handshake.gates.validators import (
    board,
    error_codes,
    git_hygiene,
    mailbox_export,
    packet_claim,
    registry,
    scan,
    spec_regression,
    traceability,
)
from handshake.gates.validators.view import View, tree_view
from handshake.repo.git import Repository

Validator = Callable[[View], list[Finding]]

VALIDATORS: Mapping[str, Validator] = {
    "scan": scan.validate,
    "git-hygiene": git_hygiene.validate,
    "spec-regression": spec_regression.validate,
    "packet-claim": packet_claim.validate,
    "board": board.validate,
    "registry": registry.validate,
    "mailbox-export": mailbox_export.validate,
    "error-codes": error_codes.validate,
    "traceability": traceability.validate,
}


def gate_findings(repo: Repository, settings: Settings, base: str, head: str) -> list[Finding]:
    """What the validators that the configuration names find in a change, for the post-work gate."""
    names = settings.validators.post_work
    if not names:
        return []
    found = run_validators(tree_view(repo, settings, base, head), names, SystemClock())
    return [finding for findings in found.values() for finding in findings]


def run_validators(view: View, names: Sequence[str], clock: Clock) -> dict[str, list[Finding]]:
    """The findings of each validator, by name, in the order asked for; without names all of them.

    Raises:
        UsageError: there is no such validator.
        EnvironmentProblem: a command of the project's own cannot be held by a sandbox.
    """
    from handshake.gates.validators.own import validate_own

    own = view.settings.validators.own
    wanted = tuple(dict.fromkeys(names)) or (*VALIDATORS, *own)
    unknown = [name for name in wanted if name not in VALIDATORS and name not in own]
    if unknown:
        raise UsageError(
            f"there is no validator {', '.join(unknown)}", next_step=f"there are: {', '.join((*VALIDATORS, *own))}"
        )
    return {
        name: VALIDATORS[name](view) if name in VALIDATORS else validate_own(view, name, own[name], clock)
        for name in wanted
    }
