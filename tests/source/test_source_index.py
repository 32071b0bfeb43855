"""The index: only what changed is read again, a kill leaves it whole, runs share it, and nothing costs nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handshake.domain.canonical import sha256_hex
from handshake.repo.git import find_repository
from handshake.repo.tree import TreeView
from handshake.source.index import SourceIndex
from handshake.source.text import lines_of
from handshake.source.words import distinct_terms, terms

GIT = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@localhost", "-c", "commit.gpgsign=false"]
FILES = {
    "app/stock.py": "def reserve(item):\n    return item\n",
    "app/basket.py": "from app.stock import reserve\n\n\ndef fill(items):\n    return [reserve(i) for i in items]\n",
    "README.md": "A shop with a basket.\n",
    "logo.bin": "\0\1\2",
}
BUILD = (
    "import sys, pathlib\n"
    "from handshake.repo.git import find_repository\n"
    "from handshake.source.index import SourceIndex\n"
    "repo = find_repository(pathlib.Path(sys.argv[1]))\n"
    "print(SourceIndex(pathlib.Path(sys.argv[2])).refresh(repo.tree(repo.branch_tip('main')), packs=True))\n"
)


def commit(root: Path, files: dict[str, str | None], said: str = "work") -> None:
    for path, text in files.items():
        place = root / path
        if text is None:
            place.unlink()
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text.encode("utf-8"))
    subprocess.run([*GIT, "add", "-A"], cwd=root, check=True)
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", said], cwd=root, check=True)


def tree_of(root: Path) -> TreeView:
    repo = find_repository(root)
    tip = repo.branch_tip("main")
    assert tip is not None
    return repo.tree(tip)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    subprocess.run([*GIT, "init", "-q", "-b", "main"], cwd=folder, check=True)
    commit(folder, FILES)
    return folder


def counted(tree: TreeView) -> Counter[str]:
    """In how many text files each word stands, the slow way."""
    found: Counter[str] = Counter()
    for path, blob in tree.ids().items():
        lines = lines_of(tree.blob(blob) or b"")
        if lines is not None:
            found.update(distinct_terms(path + "\n" + "\n".join(lines)))
    return found


def assert_true_counts(index: SourceIndex, tree: TreeView) -> None:
    truth = counted(tree)
    words = [*truth, "nowhere"]
    found = index.counts(tree.tree_id, words)
    assert found is not None
    assert found.holding == {word: truth[word] for word in sorted(words)}


def test_words_of_code_and_prose():
    assert terms("readFile_now HTTPServer x2") == ["read", "file", "now", "http", "server", "x", "2"]
    assert distinct_terms("a_b aB b") == {"a", "b"}


def test_a_tree_is_counted_once_and_nothing_changed_reads_nothing(root: Path, tmp_path: Path):
    index, tree = SourceIndex(tmp_path / "index"), tree_of(root)
    assert index.counts(tree.tree_id, ["basket"]) is None
    first = index.refresh(tree)
    assert (first.files, first.read) == (3, 4)
    assert_true_counts(index, tree)

    class Untouchable:
        tree_id = tree.tree_id

    assert index.refresh(Untouchable()).read == 0  # type: ignore[arg-type] - not even asked for its files
    commit(root, {}, "an empty commit has the same tree")
    assert SourceIndex(tmp_path / "index").refresh(tree_of(root)).read == 0


def test_only_changed_files_are_read_again(root: Path, tmp_path: Path):
    commit(root, {f"app/m{n}.py": f"def f{n}(value):\n    return value\n" for n in range(60)})
    index = SourceIndex(tmp_path / "index")
    index.refresh(tree_of(root), packs=True)
    commit(root, {"app/stock.py": "def release(item):\n    return None\n", "app/m3.py": None, "new.py": "x = 1\n"})
    tree, asked = tree_of(root), []
    blob = tree.blob
    tree.blob = lambda blob_id, most=None: asked.append(blob_id) or blob(blob_id, most)  # type: ignore[method-assign]
    again = index.refresh(tree, packs=True)
    assert (again.files, again.read, again.parsed) == (63, 2, 3 - 1)
    assert len(asked) == 4  # stock.py before and after, m3.py before, new.py after
    assert_true_counts(index, tree)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a.py", "b/c.py", "b/d.txt", "e.bin", "b"]),
            st.none() | st.text(alphabet="ab \n_A\0", max_size=12),
            max_size=4,
        ),
        max_size=4,
    )
)
def test_counts_are_those_of_the_tree_whatever_came_before(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("repo")
    subprocess.run([*GIT, "init", "-q", "-b", "main"], cwd=folder, check=True)
    commit(folder, {f"keep{n}.txt": f"keep {n}" for n in range(30)})
    index = SourceIndex(folder / ".git" / "index-test")
    index.refresh(tree_of(folder))
    for step in steps:
        changes = {}
        for path, text in sorted(step.items()):
            inside = (folder / "b").is_dir() if path == "b" else (folder / "b").is_file() and path.startswith("b/")
            if not inside and (text is not None or (folder / path).is_file()):
                changes[path] = text
                if path == "b" and text is not None:
                    break
        if "b" in changes and any(path.startswith("b/") for path in changes):
            del changes["b"]
        commit(folder, changes)
        tree = tree_of(folder)
        index.refresh(tree)
        assert_true_counts(index, tree)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("place", ["index.batch:before", "index.batch:after", "index.batch:before@2"])
def test_killed_in_the_middle_it_is_whole_and_goes_on(root: Path, tmp_path: Path, place: str):
    commit(root, {f"m{n}.py": f"def f{n}():\n    return {n}\n" for n in range(450)})
    folder = tmp_path / "index"
    killed = subprocess.run(
        [sys.executable, "-c", BUILD, str(root), str(folder)],
        env={**os.environ, "HANDSHAKE_FAILPOINT": f"{place}:kill"},
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL
    tree, index = tree_of(root), SourceIndex(folder)
    assert index.counts(tree.tree_id, ["f"]) is None  # half a count is no count
    with sqlite3.connect(index.path) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        before = db.execute("select count(*) from pack").fetchone()[0]
    assert before == {"index.batch:before": 0, "index.batch:after": 198, "index.batch:before@2": 198}[place]
    assert index.refresh(tree, packs=True).parsed == 452 - before
    assert_true_counts(index, tree)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_while_sqlite_writes_it_is_whole(root: Path, tmp_path: Path):
    """The kill comes from outside, in the middle of one large transaction."""
    folder = tmp_path / "index"
    program = (
        "import sys, pathlib\n"
        "from handshake.source.index import SourceIndex\n"
        "store = SourceIndex(pathlib.Path(sys.argv[1]))._store\n"
        "store.put_packs([('a.py', 'd', b'whole')])\n"
        "def rows():\n"
        "    for n in range(10**9):\n"
        "        yield (f'{n}.py', 'd', b'x' * 500)\n"
        "        if n == 60_000: print('writing', flush=True)\n"
        "store._try(lambda db: (db.execute('begin immediate'), db.executemany('insert into pack values (?,?,?)',"
        " rows())), None)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
    assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
    writer.kill()
    writer.wait()
    writer.stdout.close()
    index = SourceIndex(folder)
    with sqlite3.connect(index.path) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        assert db.execute("select path from pack").fetchall() == [("a.py",)]
    index.refresh(tree_of(root))
    assert index.problem is None


def test_runs_share_it_at_the_same_time(root: Path, tmp_path: Path):
    commit(root, {f"m{n}.py": f"def f{n}():\n    return {n}\n" for n in range(250)})
    folder = tmp_path / "index"
    command = [sys.executable, "-c", BUILD, str(root), str(folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = sorted(run.communicate(timeout=120)[0].strip() for run in runs)
    assert [run.returncode for run in runs] == [0, 0, 0]
    # one did the work, the others waited for it and found it done
    assert said == ["Refreshed(files=253, read=0, parsed=0)"] * 2 + ["Refreshed(files=253, read=254, parsed=252)"]
    assert_true_counts(SourceIndex(folder), tree_of(root))


def test_a_pack_is_that_of_the_text_wherever_it_comes_from(root: Path, tmp_path: Path):
    lines = lines_of(FILES["app/stock.py"].encode())
    assert lines is not None
    digest = sha256_hex(FILES["app/stock.py"])
    made, was_there = SourceIndex(tmp_path / "index").digest("app/stock.py", lines, digest)
    again, known = SourceIndex(tmp_path / "index").digest("app/stock.py", lines, digest)
    assert (was_there, known) == (False, True)
    assert made == again
    assert again.pack.source_hashes == (digest,)
    changed = (*lines, "X = 1")
    other, known = SourceIndex(tmp_path / "index").digest("app/stock.py", changed, sha256_hex("other"))
    assert not known
    assert other.pack.pack_id != made.pack.pack_id


def test_a_file_that_is_too_large_is_not_read(root: Path, tmp_path: Path):
    commit(root, {"large.txt": "enormous " * 200_000})
    tree, index = tree_of(root), SourceIndex(tmp_path / "index")
    for view in (tree, TreeView(find_repository(root).git, None, tree.commit)):
        assert view.blob(tree.ids()["large.txt"], 1_048_576) is None
    assert index.refresh(tree).files == 3
    counts = index.counts(tree.tree_id, ["enormous"])
    assert counts is not None
    assert counts.holding == {"enormous": 0}


def test_what_was_cut_is_never_kept(tmp_path: Path):
    index = SourceIndex(tmp_path / "index")
    index.digest("a.py", ("x = 1",), "d" * 64, complete=False)
    assert index.digest("a.py", ("x = 1", "y = 2"), "d" * 64)[1] is False


@pytest.mark.parametrize("damage", ["noise", "truncated", "row"])
def test_a_damaged_file_is_begun_anew(root: Path, tmp_path: Path, damage: str):
    folder, tree = tmp_path / "index", tree_of(root)
    index = SourceIndex(folder)
    index.refresh(tree, packs=True)
    index.close()
    if damage == "row":
        with sqlite3.connect(index.path) as db:
            db.execute("update pack set payload = ?", (b"no pack",))
    else:
        data = index.path.read_bytes()
        index.path.write_bytes(os.urandom(8192) if damage == "noise" else data[: len(data) // 2 - 100])
        for rest in folder.glob("*-wal"):
            rest.unlink()
    index = SourceIndex(folder)
    index.refresh(tree)
    lines = lines_of(FILES["app/stock.py"].encode()) or ()
    found, _ = index.digest("app/stock.py", lines, sha256_hex(FILES["app/stock.py"]))
    assert [anchor.name for anchor in found.pack.anchors] == ["reserve"]
    assert index.problem is None
    assert_true_counts(index, tree)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs permissions")
def test_where_nothing_can_be_written_it_does_without_and_says_so(root: Path, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    index = SourceIndex(blocked / "index")
    found, known = index.digest("a.py", ("def f():", "    pass"), "d" * 64)
    assert ([anchor.name for anchor in found.pack.anchors], known) == (["f"], False)
    assert index.refresh(tree_of(root)).files == 0
    assert index.counts(tree_of(root).tree_id, ["basket"]) is None
    assert "is not used" in str(index.problem)


def test_without_libgit2_the_same_files_are_found_changed(root: Path):
    repo = find_repository(root)
    before = tree_of(root).tree_id
    commit(root, {"app/stock.py": "x = 1\n", "README.md": None, "z/new.py": ""})
    tip = repo.branch_tip("main")
    assert tip is not None
    by_git, by_library = TreeView(repo.git, None, tip), repo.tree(tip)
    assert by_git.tree_id == by_library.tree_id
    assert by_git.changed_since(before) == by_library.changed_since(before)
    assert [change.path for change in by_git.changed_since(before) or ()] == ["README.md", "app/stock.py", "z/new.py"]
    assert by_git.changed_since("0" * 40) is None is by_library.changed_since("0" * 40)
