"""By whose rules a change is judged: those in force, and those before it. Contract: `packets-and-gates.md`, Hooks.

A change does not loosen the rules that it is judged by. `git merge` writes the files first and asks its hooks
afterwards, and a pull request is checked out with all that it changes, the configuration too: so what arrives must
hold by both.
"""

from __future__ import annotations

import os

from handshake.config.places import REPOSITORY_FILE, read_settings
from handshake.domain.errors import ConfigError
from handshake.domain.gate_settings import GateSettings
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

_SAID_TO_GATES = ("base_branch", "paths", "governance")


def rules_since(repo: Repository, settings: GateSettings, old: str) -> tuple[GateSettings, ...]:
    """The rules that a change from `old` must keep.

    Args:
        settings: the rules in force, read from the disk.
        old: the id of a commit or tree, or `HEAD`.

    Returns:
        `settings`; then what the configuration committed in `old` says, if to a gate it is something else. One that
        does not read kept no rule, and is not asked.
    """
    committed = TreeView(repo.git, None, old).read(REPOSITORY_FILE)
    if committed is None or committed == _on_disk(repo):
        return (settings,)
    from handshake.config.loading import load_settings

    try:
        before = load_settings(repo.root, env=os.environ, require_trust=False, committed=committed).settings
    except ConfigError:
        return (settings,)
    if all(getattr(before, name) == getattr(settings, name) for name in _SAID_TO_GATES):
        return (settings,)
    return (settings, before)


def _on_disk(repo: Repository) -> bytes | None:
    try:
        return read_settings(repo.root / REPOSITORY_FILE)
    except OSError:
        return None  # what is wrong with it was said when the rules in force were read
