"""Packets from real releases: the old release's tree, the files that changed as scope, the changelog as criteria.

Releases are source distributions, fetched by pip into a folder that is kept. Nothing of them is run but what pip
itself runs to read their metadata.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handshake.repo.git import Repository, find_repository
from handshake.source.languages import outline_of

WP_ID = "WP-1-Next-Release-v1"
PACKET = f"docs/task_packets/{WP_ID}.md"
TABLE = Path(__file__).with_name("releases.json")
LARGEST_BYTES = 1_048_576
# what a release writes by itself, and what no micro-task may write
_MADE = re.compile(r"(^|/)(PKG-INFO|[^/]*\.egg-info/.*|SOURCES\.txt|_version\.py)$|^docs/")
_LINK = re.compile(r"\[((?:[^\]\\]|\\.)*)\]\([^)]*\)|`([^`<]*?)\s*<[^`]*>`_{1,2}")
_NUMBER = re.compile(r":(?:pr|issue|user|ghsa|cve):`[^`]*`")
_ROLE = re.compile(r":[a-z:]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`")
_ADDRESS = re.compile(r"<[^<>]*>|\(https?:[^()]*\)")
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_BULLET = re.compile(r"^( {0,3})[-*+]\s+(?=\S)")


@dataclass(frozen=True)
class Release:
    """Two releases of one package; `changelog` is a path inside the new one."""

    name: str
    old: str
    new: str
    changelog: str


@dataclass(frozen=True)
class Pair:
    """A packet to plan, and what really happened.

    `changed` are paths relative to the repository that the new release changed or added; `diffs` maps each to its
    changed lines, old and new, and the names of the definitions around them; `bullets` are the changelog's.
    """

    release: Release
    root: Path
    repository: Repository
    commit: str
    changed: tuple[str, ...]
    diffs: dict[str, str]
    bullets: tuple[str, ...]


def known_releases(group: str) -> tuple[Release, ...]:
    """The rows of `releases.json`; `group` is `measured` or `developed`."""
    return tuple(Release(**row) for row in json.loads(TABLE.read_text("utf-8"))[group])


def prepare(release: Release, cache: Path, work: Path) -> Pair:
    """Fetch, unpack, and make the repository with its packet.

    Raises:
        SystemExit: pip cannot fetch a release, or its changelog has no bullets.
    """
    old = _unpacked(release.name, release.old, cache, work)
    new = _unpacked(release.name, release.new, cache, work)
    bullets = changelog_bullets((new / release.changelog).read_text("utf-8"), release.new)
    if not bullets:
        raise SystemExit(f"{release.name} {release.new}: {release.changelog} has no bullets")
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A", "-f"), ("commit", "-q", "-m", release.old)):
        _git(old, *arguments)
    changed = tuple(path for path in _changed(old, new) if path != release.changelog)
    packet = old / PACKET
    packet.parent.mkdir(parents=True, exist_ok=True)
    packet.write_text(_packet(release, changed, bullets), encoding="utf-8")
    diffs = {path: _changed_lines(path, old, new) for path in changed}
    commit = _git(old, "rev-parse", "HEAD")
    return Pair(release, old, find_repository(old), commit, changed, diffs, bullets)


def changelog_bullets(text: str, version: str) -> tuple[str, ...]:
    """One version's bullets, each on one line, without the addresses of links.

    A bullet that is indented by less than four counts for itself; a deeper one belongs to the one above it.
    """
    found: list[list[str]] = []
    for line in _section(text.splitlines(), version):
        bullet = _BULLET.match(line)
        if bullet:
            found.append([line[bullet.end() :]])
        elif found and line.startswith(" ") and not line.lstrip().startswith((">>>", "..")):
            found[-1].append(line.strip())
        elif line.strip():
            found.append([])  # a paragraph or heading ends the bullet
    return tuple(dict.fromkeys(text for text in (_plain(" ".join(lines)) for lines in found) if text))


def _section(lines: list[str], version: str) -> Iterator[str]:
    inside = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        underlined = re.fullmatch(r"([=\-~*^])\1{2,}\s*", following) is not None
        heading = _ADDRESS.sub("", line).strip() if line.startswith("#") or underlined else ""
        if re.search(r"\d+\.\d+", heading):
            if inside:
                return
            inside = re.search(rf"(?<![\d.]){re.escape(version)}(?![\d]|\.\d)", heading) is not None
        elif inside and not underlined:
            yield line


def _plain(text: str) -> str:
    text = _ROLE.sub(r"`\1`", re.sub(r"\((?:[\s,;]|and)*\)(?=\W*$)", "", _NUMBER.sub("", text)))
    text = _LINK.sub(lambda match: match.group(1) or match.group(2), text)
    return " ".join(text.replace("``", "`").split())


def _unpacked(name: str, version: str, cache: Path, work: Path) -> Path:
    archive = _archive(name, version, cache)
    place = work / f"{name}-{version}"
    with tarfile.open(archive) as opened:
        opened.extractall(place, filter="data")
    tops = sorted(place.iterdir())
    return tops[0] if len(tops) == 1 else place


def _archive(name: str, version: str, cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    wanted = re.compile(rf"{re.escape(name)}-{re.escape(version)}\.tar\.gz", re.IGNORECASE)
    for attempt in (1, 2):
        if found := [path for path in sorted(cache.iterdir()) if wanted.fullmatch(path.name)]:
            return found[0]
        if attempt == 1:
            # every package but this one may come as a wheel: build tools need not be built
            command = ("-m", "pip", "download", "-q", "--no-deps", "--no-binary", name, "-d", str(cache))
            subprocess.run([sys.executable, *command, f"{name}=={version}"], check=False)
    raise SystemExit(f"{name} {version}: pip brought no source distribution")


def _changed(old: Path, new: Path) -> Iterator[str]:
    for file in sorted(path for path in new.rglob("*") if path.is_file() and not path.is_symlink()):
        path = file.relative_to(new).as_posix()
        if _MADE.search(path) or not _is_text(file):
            continue
        before = old / path
        if not before.is_file() or before.read_bytes() != file.read_bytes():
            yield path


def _is_text(file: Path) -> bool:
    data = file.read_bytes()
    return len(data) <= LARGEST_BYTES and b"\0" not in data[:8192]


def _changed_lines(path: str, old: Path, new: Path) -> str:
    """The lines that differ, imports left out, and the names of the definitions they stand in; all of a new file."""
    after = (new / path).read_text("utf-8", errors="replace")
    if not (old / path).is_file():
        return after
    before = (old / path).read_text("utf-8", errors="replace")
    command = ("git", "diff", "--no-index", "--no-ext-diff", "-U0", "--", str(old / path), str(new / path))
    shown = subprocess.run(command, capture_output=True, check=False).stdout.decode("utf-8", "replace")
    found = [line[1:] for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    found = [line for line in found if not re.match(r"\s*(?:import|from|use|require)\b", line)]
    for hunk in _HUNK.finditer(shown):
        for text, start, count in ((before, *hunk.group(1, 2)), (after, *hunk.group(3, 4))):
            first, lines = int(start), int(count or 1)
            around = (d for d in outline_of(path, text).definitions if d.start < first + lines and d.end >= first)
            found += [d.name for d in around] if lines else []
    return "\n".join(found)


def _git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Bench", "-c", "user.email=bench@localhost", "-c", "core.autocrlf=false")
    done = subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _packet(release: Release, changed: tuple[str, ...], bullets: tuple[str, ...]) -> str:
    paths = "\n".join(f"  - `{path}`" for path in changed)
    done = "\n".join(f"- {bullet}" for bullet in bullets)
    return (
        f"# Task Packet: {WP_ID}\n\n- WP_ID: {WP_ID}\n- **Status:** Ready for Dev\n- USER_SIGNATURE: bench-1\n"
        f"- RISK_TIER: MEDIUM\n- What: from {release.name} {release.old} to {release.new}\n"
        f"- IN_SCOPE_PATHS:\n{paths}\n\n### TEST_PLAN\n```bash\npython -m pytest\n```\n\n### DONE_MEANS\n{done}\n"
    )
