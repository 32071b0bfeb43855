"""What known files change, told without starting git, is what git tells of the same files."""

from __future__ import annotations

import random
import subprocess
from datetime import UTC, datetime

from handshake.gates.changes import changes_between, changes_to
from handshake.repo.git import find_repository
from handshake.repo.objects import BlobEntry
from handshake.repo.store import ObjectStore

WORDS = [b"alpha", b"beta", b"gamma", b"", b"    return x", b"}", b"\tdelta", b"end"]


def text(draw: random.Random, lines: int) -> bytes:
    ending = draw.choice([b"\n", b"\n", b"\r\n"])
    body = ending.join(draw.choice(WORDS) for _ in range(lines))
    return body + draw.choice([b"", ending])


def edited(draw: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(lines) + 1)
        lines[at : at + draw.randint(0, 3)] = [draw.choice(WORDS) for _ in range(draw.randint(0, 3))]
    return b"\n".join(lines)


def test_it_is_what_git_says(tmp_path):
    when = datetime(2026, 1, 1, tzinfo=UTC)
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    repo = find_repository(tmp_path)
    store, draw = ObjectStore(repo), random.Random(7)
    before = {f"src/f{number:03d}.py": text(draw, draw.randint(0, 40)) for number in range(150)}
    entries = {path: BlobEntry(data, draw.choice([0o100644, 0o100755])) for path, data in before.items()}
    entries |= {
        "link": BlobEntry(b"src/f001.py", 0o120000),
        "bin": BlobEntry(b"\0\1\2"),
        "gone": BlobEntry(b"a\nb\n"),
    }
    base = store.write_commit(parent=None, base_tree=None, changes=entries, message="base", when=when)
    files: dict[str, bytes | None] = {path: edited(draw, data) for path, data in before.items()}
    files |= {"link": b"a file\nnow\n", "bin": b"\0\1\3", "gone": None, "new": b"x\ny", "empty": b"", "never": None}
    after = store.write_commit(parent=base, base_tree=base, changes=files, message="after", when=when)
    told = changes_to(repo.tree(base), files)
    assert told == changes_between(repo, base, after)
    assert len(told) > 140
