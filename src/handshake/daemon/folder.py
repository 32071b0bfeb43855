"""A look at the packet folder and the tracking refs, cheap where nothing changed. Contract: `interface.md`, daemon.

File events only make a look come sooner; a look finds by itself what an event missed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from handshake.daemon.candidates import Candidate, judge
from handshake.domain.errors import EnvironmentProblem, PacketRefused
from handshake.loop.surroundings import Surroundings
from handshake.repo.packet_file import read_packet_file
from handshake.repo.store import ObjectStore

SETTLE_S = 0.1
# a file's own time is believed so far back: beyond, it was dropped with its old times, or its clock is another's
CLOCKS_AGREE_S = 1.0
# so long a burst of packets may keep new ones from starting: what is dropped together runs in order of name
BURST_S = 5.0

# when its content changed, its size, which file it is, and when anything of it changed: a rename is such a change
Stamp = tuple[int, int, int, int]


@dataclass(slots=True)
class _Seen:
    stamp: Stamp
    since: float


@dataclass(frozen=True)
class Look:
    """What stands there now. `settles_in`: seconds until a file that just changed may be read, or None."""

    candidates: tuple[Candidate, ...]
    settles_in: float | None = None


@dataclass
class PacketFolder:
    """The packets of one repository, each judged once for each state of what its judgement depends on."""

    around: Surroundings
    settle_s: float = SETTLE_S
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _judged: dict[str, tuple[object, Candidate]] = field(default_factory=dict)
    _all: tuple[object, tuple[Candidate, ...]] | None = None
    _objects: ObjectStore | None = None
    _gathered: tuple[Stamp | None, dict[str, object]] | None = None

    @property
    def path(self) -> Path:
        """The folder of the packets."""
        return self.around.repo.root / self.around.settings.paths.packets

    def watched(self) -> list[Path]:
        """The folders of packets and refs, whose changes matter; those that are there."""
        common = self.around.repo.common_dir
        heads = common / ("reftable" if self.around.repo.uses_reftable else "refs/heads")
        own = self.around.settings.tracking.namespace
        others = [common / own] if own.startswith("refs/") else []
        return [place for place in (self.path, heads, *others) if place.is_dir()]

    def look(self, running: Collection[str] = ()) -> Look:
        """Every packet by name, then runs whose packet is gone. Stubs and other files are left alone.

        Args:
            running: packets whose runs are our own; what they publish is not judged before they end.
        """
        stamps = dict(sorted(self._packets()))
        settles_in = self._settle(stamps)
        now = self.around.clock.monotonic()
        unsettled = frozenset(name for name in stamps if now - self._seen[name].since < self.settle_s)
        tips = self._tips()
        shared = (
            _stamp(self.around.repo.root / self.around.settings.paths.registry),
            tips.get(f"refs/heads/{self.around.settings.base_branch}"),
        )
        whole = (tuple(stamps.items()), tips, shared, unsettled, frozenset(running))
        if self._all is None or self._all[0] != whole:
            start = f"{self._prefix}/"
            tracked = sorted(ref.removeprefix(start) for ref in tips if ref.startswith(start))
            begun = set(tracked)
            names = [name for name in stamps if name in begun or name not in unsettled]
            names += [name for name in tracked if name not in stamps]
            families = _families(stamps)
            found = []
            with self.around.repo.git.one_reader():
                for name in names:
                    refs = tips.get(f"{start}{name}"), tips.get(f"refs/heads/feat/{name}")
                    known = self._judged.get(name) if name in running else None
                    rest = (refs, shared, families.get(_base(name)))
                    found.append(known[1] if known else self._judge(name, stamps.get(name), rest))
            self.around.repo.git.remembered.clear()  # nobody asks for these again: the next look finds other commits
            self._judged = {name: self._judged[name] for name in names}
            self._all = (whole, tuple(found))
            if dict(self._packets()) != stamps:
                settles_in = self.settle_s  # more came while these were read: they belong together
        return Look(self._all[1], settles_in)

    def forget(self) -> None:
        """Judge everything anew: the configuration changed."""
        self._judged.clear()
        self._all = None

    def _judge(self, wp_id: str, stamp: Stamp | None, rest: object) -> Candidate:
        known = self._judged.get(wp_id)
        if known is None or known[0] != (stamp, rest):
            self._objects = self._objects or ObjectStore(self.around.repo, self.around.settings.identity)
            try:
                found = judge(self.around, self._objects, wp_id, self._read(wp_id) if stamp else None)
            except PacketRefused as refused:
                found = judge(self.around, self._objects, wp_id, None)
                if found.state == "ignore":
                    found = replace(found, state="refused", why=refused.line())
            known = self._judged[wp_id] = ((stamp, rest), found)
        return known[1]

    @property
    def _prefix(self) -> str:
        namespace = self.around.settings.tracking.namespace.strip("/")
        return namespace if namespace.startswith("refs/") else f"refs/heads/{namespace}"

    def _read(self, wp_id: str) -> bytes | None:
        try:
            return read_packet_file(self.around.repo.root, f"{self.around.settings.paths.packets}/{wp_id}.md")
        except EnvironmentProblem:
            return None  # it was taken away meanwhile, or cannot be read yet: the next look sees

    def _packets(self) -> Iterator[tuple[str, Stamp]]:
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if entry.name.startswith("WP-") and entry.name.endswith(".md"):
                        stamp = _stamp(entry)
                        if stamp is not None:
                            yield entry.name.removesuffix(".md"), stamp
        except FileNotFoundError:
            return

    def _settle(self, stamps: dict[str, Stamp]) -> float | None:
        """Note what changed since the last look; a file is read once it stayed the same for a moment."""
        now, wall = self.around.clock.monotonic(), self.around.clock.now().timestamp()
        for name, stamp in stamps.items():
            seen = self._seen.get(name)
            if seen is None or seen.stamp != stamp:
                age = wall - stamp[3] / 1e9
                self._seen[name] = _Seen(stamp, now - age if 0 < age < CLOCKS_AGREE_S else now)
        self._seen = {name: seen for name, seen in self._seen.items() if name in stamps}
        youngest = max((seen.since for seen in self._seen.values()), default=None)
        left = None if youngest is None else youngest + self.settle_s - now
        return left if left is not None and left > 0 else None

    def _tips(self) -> dict[str, object]:
        """The refs that matter, each with what changes when it moves. Git is not asked, but for reftable."""
        repo, common = self.around.repo, self.around.repo.common_dir
        gathered = common / ("reftable/tables.list" if repo.uses_reftable else "packed-refs")
        places = (self._prefix, "refs/heads/feat", f"refs/heads/{self.around.settings.base_branch}")
        stamp = _stamp(gathered)
        if self._gathered is None or self._gathered[0] != stamp:
            rows = self._by_git() if repo.uses_reftable else _packed(gathered)
            mine = {ref: sha for ref, sha in rows if ref.startswith(places)}
            self._gathered = (stamp, mine)
        return {**self._gathered[1], **{ref: stamp for place in places for ref, stamp in _loose(common, place)}}

    def _by_git(self) -> Iterable[tuple[str, object]]:
        rows = self.around.repo.git.text("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return ((ref, sha) for ref, _, sha in (row.partition(" ") for row in rows))


def _base(wp_id: str) -> str:
    """The name without its revision."""
    stem, mark, number = wp_id.rpartition("-v")
    return stem if mark and number.isdigit() else wp_id


def _families(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Packets by their base: which revision may run depends on which others are there."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        found[_base(name)] = (*found.get(_base(name), ()), name)
    return found


def _packed(file: Path) -> Iterator[tuple[str, object]]:
    """The refs in git's `packed-refs`: lines `id name`, remarks with `#`, peeled tags with `^`."""
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        if line[:1] not in ("#", "^", ""):
            sha, _, ref = line.partition(" ")
            yield ref, sha


def _loose(common: Path, name: str) -> Iterator[tuple[str, Stamp]]:
    """The loose refs of that name or below it, each with its file's stamp."""
    place = common / name
    try:
        entries = list(os.scandir(place))
    except NotADirectoryError:
        stamp = _stamp(place)
        if stamp is not None:
            yield name, stamp
        return
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _loose(common, f"{name}/{entry.name}")
        elif not entry.name.endswith(".lock"):
            stamp = _stamp(entry)
            if stamp is not None:
                yield f"{name}/{entry.name}", stamp


def _stamp(path: Path | os.DirEntry[str]) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino, max(found.st_mtime_ns, found.st_ctime_ns))
