"""One git process that reads what a hook asks for, and says the same as a process for each question."""

from __future__ import annotations

import pytest

from handshake.repo.git import GitFailed
from handshake.repo.object_reader import ObjectReader, ReaderEnded

NAMES = (
    "README.md",
    "src/app.py",
    "a b",
    "tab\there",
    "späte datei",
    "line\nbreak",
    "nothing",
    "src",
    "../x",
    "./run.sh",
)


@pytest.fixture(params=["scratch", "sha256_scratch"])
def repo(request):
    made = request.getfixturevalue(request.param)
    for name in NAMES[2:6]:
        made.write(name, name * 3)
    made.write(".hidden/x", "x")
    made.commit("names")
    opened = made.open()
    opened._libgit2 = False
    return opened


def test_it_reads_what_single_processes_read(repo):
    def look():
        head = repo.resolve("HEAD")
        view = repo.tree(head)
        found = [view.read(name) for name in (*NAMES, ".hidden/x")]
        children = [view.children(name) for name in ("src", "src/deep", ".hidden", "README.md", "none")]
        revisions = [
            repo.resolve(name) for name in ("HEAD", "main", "refs/heads/none", "HEAD^9", "x\ny", head[:8], "-x")
        ]
        return head, found, children, view.tree_id, revisions

    alone = look()
    repo.git.remembered.clear()
    with repo.git.one_reader():
        assert look() == alone
        assert repo.git.has_reader
    assert not repo.git.has_reader


def test_many_large_answers_do_not_block(repo):
    big = b"0123456789abcdef" * 20_000
    ids = [
        repo.git.run("hash-object", "-w", "--stdin", input=big + bytes([n])).stdout.decode().strip() for n in range(9)
    ]
    asked = [*ids, "0" * len(ids[0]), "no such name"] * 30
    with repo.git.one_reader():
        found = repo.git.objects(asked)
    assert found == repo.git.objects(asked)
    assert [stored.content[-1] for stored in found[:9]] == list(range(9))
    assert found[9:11] == [None, None]


def test_what_is_written_later_is_found(repo):
    with repo.git.one_reader():
        assert repo.git.objects(["HEAD^{tree}"])[0].kind == "tree"
        later = repo.git.run("hash-object", "-w", "--stdin", input=b"later").stdout.decode().strip()
        assert repo.git.objects([later])[0].content == b"later"


def test_a_reader_that_was_killed_is_started_anew(repo):
    with repo.git.one_reader():
        first = repo.git.objects(["HEAD:README.md"])
        repo.git._reader._process.kill()
        repo.git._reader._process.wait()
        assert repo.git.objects(["HEAD:README.md"]) == first
        assert repo.git.objects(["HEAD:README.md"]) == first


def test_a_damaged_object_is_an_error_and_not_a_missing_file(repo):
    sha = repo.git.run("hash-object", "-w", "--stdin", input=b"a" * 5000).stdout.decode().strip()
    file = repo.common_dir / "objects" / sha[:2] / sha[2:]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-9])
    with repo.git.one_reader(), pytest.raises(GitFailed, match="cat-file"):
        repo.git.objects([sha])
    with repo.git.one_reader():
        assert repo.git.objects(["HEAD^{commit}"])[0].kind == "commit"


def test_no_process_is_left(repo):
    with repo.git.one_reader():
        repo.git.objects(["HEAD"])
        process = repo.git._reader._process
    assert process.returncode == 0
    with repo.git.one_reader():
        assert repo.git._reader._process is None  # nothing asked, nothing started


def test_an_answer_that_ends_early_is_told():
    reader = ObjectReader(["sh", "-c", "read name; printf '%s blob 9\\nhalf' \"$name\""], {"PATH": "/usr/bin:/bin"})
    with pytest.raises(ReaderEnded):
        reader.read(["a" * 40])
