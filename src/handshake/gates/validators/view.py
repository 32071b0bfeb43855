"""What a validator looks at: the working tree, or the tree that is being committed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from handshake.domain.packet import Packet
from handshake.domain.packet_text import read_packet
from handshake.domain.settings import Settings
from handshake.gates.spec import ReadFile
from handshake.gates.strict import working_tree
from handshake.repo.git import Repository
from handshake.repo.tree import TreeView

LARGEST_READ = 1_000_000


@dataclass(frozen=True)
class View:
    """Files to judge.

    `paths` are all files, sorted; `untracked` those of them that git does not know; `changed` limits what is judged
    line by line to files of a change, None is all; `tip` is the commit whose history counts; `worktree` is the
    checkout, or None where a tree is judged.
    """

    repo: Repository
    settings: Settings
    read: ReadFile
    paths: tuple[str, ...]
    untracked: tuple[str, ...] = ()
    changed: frozenset[str] | None = None
    tip: str | None = None
    worktree: Path | None = None

    def text(self, path: str) -> str | None:
        """A text file's content; None for one that is missing, binary, or over a megabyte."""
        data = self.read(path)
        if data is None or len(data) > LARGEST_READ or b"\0" in data:
            return None
        return data.decode("utf-8", errors="replace")

    @property
    def judged(self) -> Iterator[str]:
        """The paths whose lines are judged."""
        return (path for path in self.paths if self.changed is None or path in self.changed)

    @cached_property
    def packets(self) -> tuple[Packet, ...]:
        """Packets and stubs that can be read, by path; a stub whose packet is there is left out."""
        folder = f"{self.settings.paths.packets}/"
        found: dict[str, Packet] = {}
        for path in self.paths:
            name = path.removeprefix(folder).removeprefix("stubs/")
            if not path.startswith(folder) or not name.startswith("WP-") or "/" in name or not name.endswith(".md"):
                continue
            packet = read_packet(self.read(path) or b"", path).packet
            wp_id = name.removesuffix(".md").removesuffix(".stub")
            if packet is not None and (wp_id not in found or found[wp_id].is_stub):
                found[wp_id] = packet
        return tuple(found[wp_id] for wp_id in sorted(found))


def working_view(repo: Repository, settings: Settings) -> View:
    """The working tree: tracked files, and those that are neither tracked nor ignored."""
    tracked = repo.git.names("ls-files", "-z")
    untracked = repo.git.names("ls-files", "-z", "--others", "--exclude-standard")
    return View(
        repo=repo,
        settings=settings,
        read=working_tree(repo.root),
        paths=tuple(sorted({*tracked, *untracked})),
        untracked=tuple(sorted(untracked)),
        tip=repo.resolve("HEAD"),
        worktree=repo.root,
    )


def tree_view(repo: Repository, settings: Settings, base: str, head: str) -> View:
    """What is being committed: the tree of `head`, judged line by line where it differs from `base`."""
    tree = TreeView(repo.git, repo.pygit2, head)
    changed = repo.git.names("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", base, head)
    is_commit = repo.git.text("cat-file", "-t", head) == "commit"
    return View(
        repo=repo,
        settings=settings,
        read=tree.read,
        paths=tree.paths_under(""),
        changed=frozenset(changed),
        tip=head if is_commit else repo.resolve("HEAD"),
    )
