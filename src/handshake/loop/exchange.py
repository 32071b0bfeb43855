"""Tracking branches and a remote: the run goes out, decisions come in. Contract: `loop.md`, `state.md`.

Nothing of it blocks or fails a run: what could not be sent or fetched is said, and tried again with the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from handshake.domain.clock import Clock
from handshake.domain.errors import StaleOwner
from handshake.loop.run import commit_message
from handshake.loop.surroundings import Surroundings
from handshake.repo.git import Repository, find_repository
from handshake.repo.hand_moves import decisions_added
from handshake.repo.remote import Errand, TrackingRemote
from handshake.repo.store import ObjectStore, TrackingBranch

FETCH_PATIENCE_S = 10.0
LAST_PUSH_S = 20.0


def remote_of(around: Surroundings, repo: Repository | None = None) -> TrackingRemote:
    """The remote that the configuration names."""
    tracking = around.settings.tracking
    return TrackingRemote(repo or around.repo, tracking.remote, tracking.namespace)


@contextmanager
def shared(around: Surroundings, branch: TrackingBranch) -> Iterator[None]:
    """Within, every step of the branch is pushed where `tracking.push` says so; before, decisions are fetched."""
    if not around.settings.tracking.push:
        yield
        return
    remote = around.settings.tracking.remote

    def failed(why: str) -> None:
        around.watcher.note(f"{remote}: {why}; tried again with the next step")

    fetching = Errand(lambda: exchange(around, branch.wp_id, push=False), failed)
    fetching.ask()
    fetching.finish(FETCH_PATIENCE_S)
    pushing = Errand(lambda: exchange(around, branch.wp_id), failed)
    branch.after_publish = pushing.ask
    pushing.ask()
    try:
        yield
    finally:
        branch.after_publish = None
        if not pushing.finish(LAST_PUSH_S):
            around.watcher.note(f"{remote}: the last steps are not pushed yet. Next: git push {remote} {branch.ref}")


def exchange(around: Surroundings, wp_id: str, *, push: bool = True) -> str | None:
    """Push a tracking branch; where the remote moved on, take over what people decided there and push again.

    It opens the repository for itself, so that it may run beside the work.

    Returns:
        why it could not be done, or None.
    """
    repo = find_repository(around.repo.root)
    remote = remote_of(around, repo)
    if push and remote.push(wp_id) is None:
        return None
    why = remote.fetch()
    if why is not None:
        return why
    branch = TrackingBranch(repo, wp_id, around.settings.tracking.namespace, around.settings.identity)
    why = take_over(repo, branch, remote, around.clock)
    return why or (remote.push(wp_id) if push else None)


def fetch_decisions(around: Surroundings, wp_ids: Sequence[str]) -> str | None:
    """Fetch once, and take over what was decided on any of these packets; why it could not be done, or None.

    Without libgit2: it is the daemon that asks, every few seconds, and it stays small.
    """
    repo = around.repo.by_git_alone()
    remote, objects = remote_of(around, repo), ObjectStore(repo, around.settings.identity)
    why = remote.fetch()
    with repo.git.one_reader():
        for wp_id in wp_ids if why is None else ():
            branch = TrackingBranch(repo, wp_id, around.settings.tracking.namespace, objects=objects)
            why = take_over(repo, branch, remote, around.clock) or why
    return why


def take_over(repo: Repository, branch: TrackingBranch, remote: TrackingRemote, clock: Clock) -> str | None:
    """Bring the decisions that were pushed to a remote onto the branch here.

    Where both sides moved, a merge commit holds both, so that the branch can be pushed again: a file whose
    number is taken here came too late, and stays in the history alone.

    Returns:
        why nothing was taken over although the remote has more, or None.
    """
    mine, theirs = branch.tip(), remote.fetched_tip(branch.wp_id)
    if mine is None or theirs is None or repo.is_ancestor(theirs, mine):
        return None
    base = repo.git.run("merge-base", mine, theirs, check=False).stdout.decode().strip()
    added = decisions_added(repo, base, theirs) if base else None
    if added is None:
        return f"{branch.wp_id} was run elsewhere too: its log there holds more than decisions"
    tip = theirs if base == mine else _joined(repo, branch, mine, theirs, added, clock)
    try:
        branch.objects.update_ref(branch.ref, tip, expected=mine)
    except StaleOwner:
        return None  # its run took a step meanwhile: the next exchange sees
    return None


def _joined(
    repo: Repository, branch: TrackingBranch, mine: str, theirs: str, added: tuple[str, ...], clock: Clock
) -> str:
    there = repo.tree(theirs)
    new = {path: there.read(path) for path in added if branch.read(path, mine) is None}
    late = len(added) - len(new)
    said = f"Decisions from elsewhere: {len(new)} new" + (f", {late} too late" if late else "")
    return branch.objects.write_commit(
        parent=mine,
        base_tree=mine,
        changes=new,
        message=commit_message(said, {"WP": branch.wp_id}),
        when=clock.now(),
        merges=(theirs,),
    )


def adopt_fetched(around: Surroundings, wp_id: str) -> None:
    """Give this clone the branch of a run that goes on elsewhere, as it was pushed, to decide on it here."""
    objects = ObjectStore(around.repo, around.settings.identity)
    branch = TrackingBranch(around.repo, wp_id, around.settings.tracking.namespace, objects=objects)
    theirs = remote_of(around).fetched_tip(wp_id)
    if branch.tip() is None and theirs is not None:
        objects.update_ref(branch.ref, theirs, expected=None)


def with_remote(around: Surroundings, wp_id: str, said: Callable[[str], None]) -> Callable[[], None]:
    """Fetch before a decision is made; what is returned sends it. Both wait a little, and neither fails."""
    if not around.settings.tracking.push:
        return lambda: None
    remote = around.settings.tracking.remote

    def now(act: Callable[[], str | None]) -> None:
        errand = Errand(act, lambda why: said(f"{remote}: {why}"))
        errand.ask()
        if not errand.finish(FETCH_PATIENCE_S):
            said(f"{remote} does not answer")

    now(lambda: exchange(around, wp_id, push=False))
    adopt_fetched(around, wp_id)
    return lambda: now(lambda: exchange(around, wp_id))
