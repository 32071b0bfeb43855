"""The packet as it was signed before a change: whose scope and waivers count. Contract: `packets-and-gates.md`.

A change cannot widen its own scope: it is the scope of the base that counts, and where the base has no signed
packet, that of the first commit after it that brings one, and no work beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from handshake.domain.packet import Packet, Waiver
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_text import read_packet
from handshake.gates.manifest_gates import EntryKey, entry_key
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView


@dataclass(frozen=True)
class Signed:
    """What was signed. `known` are the manifest blocks the base had."""

    scope: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    known: frozenset[EntryKey] = frozenset()


def signed_before(repo: Repository, base: str, head: str, current: Packet, remarks: Remarks) -> Signed:
    """The scope and waivers that were signed before the change from `base` to `head` (commits or trees)."""
    path = current.path
    at_base = _packet_at(repo, base, path)
    known = frozenset(entry_key(entry) for entry in at_base.manifest) if at_base else frozenset()
    for revision in chain([base], _later(repo, base, head, path)):
        packet = at_base if revision == base else _packet_at(repo, revision, path)
        if packet is None or not packet.user_signature:
            continue
        work = () if revision == base else _work_beside(repo, revision, path)
        if work:
            remarks.error(
                "HSK-POST-SCOPE",
                None,
                f"the packet was signed in the same step that brought {work[0]}: nobody signed that scope before",
                "commit the signed packet alone, then the work",
            )
        elif revision != base and (work := _work_before(repo, base, revision, path)):
            remarks.error(
                "HSK-POST-SCOPE",
                None,
                f"{work[0]} changed before the packet was signed: nobody had signed that scope",
                "sign on the base branch, or put the signed packet first: git rebase -i",
            )
        _remark_on_widening(packet, current, remarks)
        return Signed(packet.in_scope_paths, packet.waivers, known)
    remarks.error(
        "HSK-POST-SIGNATURE",
        current.status_line - 1 if current.status_line else None,
        "no version of the packet was signed before this change",
        "have USER_SIGNATURE filled in, and commit that first",
    )
    return Signed(current.in_scope_paths, (), known)


def _remark_on_widening(signed: Packet, current: Packet, remarks: Remarks) -> None:
    more = sorted(set(current.in_scope_paths) - set(signed.in_scope_paths))
    if more:
        remarks.warning(
            "HSK-POST-SCOPE",
            None,
            f"this change adds {', '.join(more)} to its own scope; the scope that was signed counts",
            "change the scope on the base branch first, then: git merge",
        )


def _packet_at(repo: Repository, revision: str, path: str) -> Packet | None:
    data = TreeView(repo.git, repo.pygit2, revision).read(path)
    return None if data is None else read_packet(data, path).packet


def _later(repo: Repository, base: str, head: str, path: str) -> Iterator[str]:
    """The commits after `base` that touch the packet, oldest first; then `head` where it is a bare tree."""
    kinds = (
        repo.git.run("cat-file", "--batch-check=%(objecttype)", input=f"{base}\n{head}\n".encode())
        .stdout.decode()
        .split()
    )
    staged = kinds[1] != "commit"
    tip = repo.resolve("HEAD") if staged else head
    if tip is not None:
        exclude = [f"^{base}"] if kinds[0] == "commit" else []
        yield from repo.git.text(
            "rev-list", "--reverse", "--topo-order", tip, *exclude, "--", f":(top,literal){path}"
        ).split()
    if staged:
        yield head


def _work_beside(repo: Repository, revision: str, path: str) -> tuple[str, ...]:
    """What else than papers a step changed: a commit against its parent, a bare tree against HEAD."""
    kind = repo.git.text("cat-file", "-t", revision)
    if kind == "commit":
        # -c: of a merge, what is in it and in none of its parents; without it git shows nothing (git-diff-tree(1))
        command = ["diff-tree", "-r", "-c", "--root", "--no-commit-id", "--name-only", "--no-renames", "-z", revision]
    else:
        parent = repo.resolve("HEAD") or repo.git.run("mktree", input=b"").stdout.decode().strip()
        command = ["diff-tree", "-r", "--name-only", "--no-renames", "-z", parent, revision]
    return _work_among(repo.git.names(*command), path)


def _work_before(repo: Repository, base: str, revision: str, path: str) -> tuple[str, ...]:
    """What else than papers was changed since `base` when a step began."""
    kind = repo.git.text("cat-file", "-t", revision)
    parents = repo.parents(revision) if kind == "commit" else [repo.resolve("HEAD")]
    if not parents or parents[0] in (None, base):
        return ()
    command = ["diff-tree", "-r", "--name-only", "--no-renames", "-z", base, str(parents[0])]
    return _work_among(repo.git.names(*command), path)


def _work_among(names: Iterable[str], packet_path: str) -> tuple[str, ...]:
    return tuple(name for name in names if name != packet_path and not name.startswith("docs/"))
