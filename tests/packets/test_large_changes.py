"""Changes of a size that few repositories see: a glob over 50,000 files, and files of 100 MB."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from handshake.domain.packet_edit import with_manifest
from handshake.gates.changes import changes_between
from handshake.gates.manifest import manifest_entries
from handshake.gates.post_work import post_work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MANY = 50_000
HUNDRED_MB = 100 * 1024 * 1024


def fast_import(project, branch: str, parent: str, files: dict[str, bytes]) -> None:
    """One commit of many files, made without a checkout."""
    who = b"t <t@e> 1767225600 +0000"
    out = [b"commit refs/heads/%s\ncommitter %s\ndata 1\nx\nfrom %s^0\n" % (branch.encode(), who, parent.encode())]
    out += [b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data) for path, data in files.items()]
    project.git("fast-import", "--quiet", "--date-format=raw", data=b"".join(out))


def finish(project, base: str, branch: str, spoil: Callable[[list], list] = list) -> None:
    """A further commit, of the packet with the manifest of all that the branch changed."""
    rows = spoil(list(manifest_entries(changes_between(project.repo, base, branch))))
    packet = project.git("show", f"{base}:{project.packet_path}").encode() + b"\n"
    fast_import(project, branch, branch, {project.packet_path: with_manifest(packet, rows)})


def judge(project, base: str, branch: str) -> list[str]:
    found = post_work(
        project.repo, project.git("rev-parse", base), project.git("rev-parse", branch), project.packet_path
    )
    return [f"{finding.code} {finding.what}" for finding in found]


def test_fifty_thousand_files_in_a_glob(project) -> None:
    packet = project.read(project.packet_path).replace(b"  - lib/\n", b"  - lib/**/*_part.txt\n")
    project.write(project.packet_path, packet)
    project.commit("a glob")
    names = [f"lib/d{n % 100}/e{n % 7}/{n}_part.txt" for n in range(MANY)]
    fast_import(project, "trunk", "main", dict.fromkeys(names, b"one\ntwo\n"))
    fast_import(project, "work", "trunk", dict.fromkeys(names, b"one\n2\n"))
    finish(project, "trunk", "work")
    assert judge(project, "trunk", "work") == []
    fast_import(project, "wider", "work", {"lib/other.txt": b"x\n", names[MANY // 2]: b"one\nthree\n"})
    found = judge(project, "trunk", "wider")
    assert sum("lib/other.txt" in line for line in found) == len(found) - 1
    assert any("C701-G02" in line for line in found)
    assert any(f"{names[MANY // 2]}: post_sha1_captured is ticked but false" in line for line in found)


@pytest.mark.parametrize("kind", ["binary", "text", "one line"])
def test_a_file_of_a_hundred_megabytes(project, kind: str, tmp_path: Path) -> None:
    if kind == "binary":
        before = b"\0" + os.urandom(HUNDRED_MB)
        after = before[:-4] + b"last"
    else:
        line = b"x" * 99 + (b"\n" if kind == "text" else b"y")
        before = line * (HUNDRED_MB // 100)
        after = before[: HUNDRED_MB // 2] + b"changed" + before[HUNDRED_MB // 2 + 7 :]
    fast_import(project, "trunk", "main", {"lib/large": before})
    fast_import(project, "work", "trunk", {"lib/large": after})
    fast_import(project, "false", "trunk", {"lib/large": after})
    finish(project, "trunk", "work")
    assert judge(project, "trunk", "work") == []
    finish(project, "trunk", "false", lambda rows: [replace(row, post_sha1=row.pre_sha1) for row in rows])
    assert any("post_sha1_captured is ticked but false" in line for line in judge(project, "trunk", "false"))
