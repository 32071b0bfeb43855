"""What a scope may hold that no model can edit: a named finding each, never a crash, never a silent drop."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from planning_trees import PACKET, DictTree, is_gate, plan_for

from handshake.domain.errors import JobRefused
from handshake.domain.job import WorkPacketScope
from handshake.domain.microtask import Plan
from handshake.planning import generate_plan
from handshake.repo.git import find_repository
from handshake.source.project import LONGEST_LINE

WORK = "def work():\n    return 1\n"


def git(root: Path, *args: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    settings = ("-c", "protocol.file.allow=always", "-c", "core.autocrlf=false")
    done = subprocess.run(["git", *identity, *settings, *args], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def planned(root: Path, in_scope: tuple[str, ...], done: tuple[str, ...] = ("`work` returns 2",)) -> Plan:
    return generate_plan(
        wp_id="WP-1-Demo",
        packet_path=PACKET,
        scope=WorkPacketScope(in_scope_paths=in_scope, done_means=done, test_plan=("pytest -q",)),
        tree=find_repository(root).tree(git(root, "rev-parse", "HEAD")),
        smallest_window=16_384,
        is_governance_command=is_gate,
    )


def findings(plan: Plan) -> list[str]:
    return [finding.message for finding in plan.findings]


def owned(plan: Plan) -> set[str]:
    return {path for mt in plan.definitions for path in mt.files.writable}


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real repository with everything in it that a tree may hold and a model cannot edit."""
    base = tmp_path_factory.mktemp("strange")
    inner, root = base / "inner", base / "root"
    for place in (inner, root):
        place.mkdir()
        git(place, "init", "-q", "-b", "main")
    (inner / "lib.py").write_text(WORK)
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "inner")
    source = root / "src"
    source.mkdir()
    (source / "work.py").write_text(WORK)
    (source / "huge.py").write_bytes(b"x = 1\n" * (50 * 1_048_576 // 6))
    (source / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    (source / "app.min.js").write_text("var a=1;" * LONGEST_LINE)
    (source / "old.py").write_bytes(b"# caf\xe9\ndef old():\n    return 1\n")
    (source / "one").symlink_to("two")
    (source / "two").symlink_to("one")
    (source / "up").symlink_to("..")
    git(root, "submodule", "add", "-q", str(inner), "src/vendor")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "strange")
    return root


@pytest.mark.parametrize("in_scope", [("src/",), ("src/**",), ("**/*",), (".",)])
def test_each_strange_file_is_named(strange: Path, in_scope: tuple[str, ...]) -> None:
    plan = planned(strange, in_scope)
    said = findings(plan)
    assert "src/huge.py is left out: it has 50.0 MiB, more than 1 MiB" in said
    assert "src/picture.png is left out: it is binary" in said
    assert "src/app.min.js is left out: it has a line of 80000 characters: minified or generated" in said
    assert all(f"src/{link} is left out: it is a symbolic link" in said for link in ("one", "two", "up"))
    assert "src/vendor is left out: it lies in a submodule, which is a repository of its own" in said
    assert "src/old.py is not UTF-8: read as latin-1" in said
    assert "src/work.py" in owned(plan)
    assert not owned(plan) & {"src/huge.py", "src/picture.png", "src/app.min.js", "src/one", "src/vendor"}


@pytest.mark.parametrize("in_scope", [("src/one",), ("src/vendor",), ("src/vendor/lib.py",), ("src/up/new.py",)])
def test_a_scope_of_nothing_else_is_refused_by_name(strange: Path, in_scope: tuple[str, ...]) -> None:
    with pytest.raises(JobRefused, match=r"symbolic link|submodule") as refused:
        planned(strange, in_scope)
    assert refused.value.next_step


def test_a_file_whose_object_is_gone_is_named(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "gone.py").write_text("lost = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "base")
    blob = git(tmp_path, "rev-parse", "HEAD:gone.py")
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    plan = planned(tmp_path, ("work.py", "gone.py"))
    assert any(message.startswith("gone.py is left out: it cannot be read") for message in findings(plan))
    assert owned(plan) == {"work.py"}


def test_a_scope_that_matches_nothing_is_refused(strange: Path) -> None:
    with pytest.raises(JobRefused, match=r"nowhere/\*\*: nothing in the tree matches it"):
        planned(strange, ("nowhere/**",))


def test_a_scope_of_everything_and_no_word_of_where_is_refused() -> None:
    files = {f"pkg/m{number}.py": WORK for number in range(40)}
    with pytest.raises(JobRefused, match="which of the 40 files"):
        plan_for(files, ("**",), ("All tests pass",))


def test_a_criterion_of_ten_thousand_characters_is_whole_in_the_notes() -> None:
    bullet = "`work` returns 2, because " + "of this and that " * 600
    plan = plan_for({"a.py": WORK, "b.py": "x = 1\n"}, ("a.py", "b.py"), (bullet, bullet, "`x` is 2"))
    holder = plan.definition(plan.criteria[bullet][0])
    assert " ".join(bullet.split()) in (holder.notes or "")
    assert all(len(done.description) <= 300 for done in holder.done)
    said = findings(plan)
    assert f"DONE_MEANS 1 has {len(bullet)} characters: shortened as a criterion, whole in the notes" in said
    assert "DONE_MEANS 2 says again what 1 says; it is held once" in said


def test_more_left_out_than_can_be_listed_is_counted() -> None:
    files: dict[str, str | bytes] = {f"img/{number:03d}.png": b"\0" for number in range(120)}
    plan = plan_for({**files, "a.py": WORK}, ("img/", "a.py"), ("`work` is done",))
    said = findings(plan)
    assert sum("is left out" in message for message in said) == 50
    assert "70 more files are left out: it is binary" in said


def test_a_tree_in_memory_knows_links_and_submodules() -> None:
    tree = DictTree({"a.py": WORK, "b": "a.py"}, links=("b",), mounted=("lib",))
    assert (tree.mode("b"), tree.mode("none"), tree.submodules()) == (0o120000, None, ("lib",))
