"""From packet and tree to definitions: who owns what, who waits for whom, what judges whom."""

from __future__ import annotations

import pytest
from planning_trees import GO, PACKET, PYTHON, PYTHON_DONE, PYTHON_SCOPE, RUST, TYPESCRIPT, DictTree, plan_for

from handshake.domain.errors import JobRefused
from handshake.domain.microtask import MicroTaskDefinition, Plan
from handshake.planning import completes_by_verify_alone
from handshake.source.project import Project


def owner(plan: Plan, path: str) -> MicroTaskDefinition:
    owners = [mt for mt in plan.definitions if path in mt.files.writable]
    assert len(owners) == 1, (path, [mt.mt_id for mt in owners])
    return owners[0]


def commands(mt: MicroTaskDefinition) -> list[str]:
    return [spec.command for spec in mt.verify]


def remarks(plan: Plan) -> str:
    return "\n".join(finding.message for finding in plan.findings)


def test_a_python_package_is_cut_along_imports_and_judged_test_by_test() -> None:
    plan = plan_for(PYTHON, PYTHON_SCOPE, PYTHON_DONE, ("just pre-work WP-1-Demo", "pytest -q", "ruff check ."))
    stats, text = owner(plan, "calc/stats.py"), owner(plan, "calc/text.py")
    assert stats.files.modify == ("calc/report.py", "calc/stats.py")
    assert stats.files.read[0] == "tests/test_calc.py"
    names = ("test_mean", "test_median", "test_report")
    assert commands(stats) == [
        "pytest -q " + " ".join(f"tests/test_calc.py::{name}" for name in names),
        "ruff check calc/report.py calc/stats.py",
    ]
    assert commands(text)[0] == "pytest -q tests/test_calc.py::TestText::test_shout"
    closing = plan.definitions[-1]
    assert commands(closing) == ["pytest -q", "ruff check ."]
    assert closing.files.writable == ()
    assert closing.depends_on == ("MT-001", "MT-002")
    assert plan.test_plan == ("pytest -q", "ruff check .")
    assert plan.criteria["All tests pass"] == (closing.mt_id,)
    assert "docs/guide.md is left out" in remarks(plan)


def test_one_file_for_each_micro_task() -> None:
    plan = plan_for(PYTHON, PYTHON_SCOPE, PYTHON_DONE, files_per_mt=1)
    assert all(len(mt.files.writable) <= 1 for mt in plan.definitions)
    parts = [mt for mt in plan.definitions if mt.files.modify == ("calc/stats.py",)]
    assert [commands(mt) for mt in parts] == [
        ["pytest -q tests/test_calc.py::test_mean"],
        ["pytest -q tests/test_calc.py::test_median"],
    ]
    assert parts[1].depends_on == (parts[0].mt_id,)
    assert owner(plan, "calc/report.py").depends_on == (parts[1].mt_id,)


def test_a_file_whose_parts_no_test_can_judge_apart_stays_in_one_piece() -> None:
    files = {
        "a.py": "def one():\n    return 1\n\n\ndef two():\n    return 2\n",
        "test_a.py": "from a import one, two\n\n\ndef test_all():\n    assert one() + two() == 3\n",
    }
    plan = plan_for(files, ("a.py",), ("`one` is right", "`two` is right"), files_per_mt=1)
    assert [mt.files.modify for mt in plan.definitions] == [("a.py",), ()]
    assert commands(plan.definitions[0]) == ["pytest -q test_a.py"]


def test_a_single_file_still_decomposes_into_work_and_closing() -> None:
    plan = plan_for(PYTHON, ("calc/text.py",), ("shout is loud",))
    assert len(plan.definitions) == 2
    assert plan.waves == (("MT-001",), ("MT-002",))
    assert plan.definitions[0].name.startswith("Change calc/text.py: shout is loud")


def test_work_that_could_stand_apart_is_not_put_into_one_micro_task() -> None:
    files = {"a.py": "import b\n\n\ndef one():\n    pass\n", "b.py": "def two():\n    pass\n"}
    plan = plan_for(files, ("a.py", "b.py"), ("`one` is right", "`two` is right"))
    assert [mt.files.modify for mt in plan.definitions] == [("b.py",), ("a.py",), ()]


def test_typescript_by_its_own_tests() -> None:
    done = ("`mean` of nothing is 0", "`clamp` bounds its value", "`App` shows a dash for nothing")
    scope = ("src/stats.ts", "src/clamp.ts", "src/app.tsx")
    plan = plan_for(TYPESCRIPT, scope, done, ("npm test", "npx tsc --noEmit"), files_per_mt=1)
    assert commands(owner(plan, "src/clamp.ts")) == ["npm test -- src/clamp.test.ts"]
    assert commands(owner(plan, "src/stats.ts")) == ["npm test -- test/stats.test.ts"]
    assert commands(owner(plan, "src/app.tsx")) == ["npm test", "npx tsc --noEmit"]
    assert plan.order == ("MT-001", "MT-002", "MT-003", "MT-004")
    assert owner(plan, "src/app.tsx").task_tags == ("react", "typescript")


def test_rust_modules_inline_tests_and_test_targets() -> None:
    done = ("`mean` returns 0 for an empty slice", "`shout` upper-cases")
    scope = ("core/src/stats.rs", "core/src/text.rs", "core/tests/api.rs")
    plan = plan_for(RUST, scope, done, ("cargo test --manifest-path core/Cargo.toml",), files_per_mt=1)
    manifest = "--manifest-path core/Cargo.toml"
    assert commands(owner(plan, "core/src/text.rs")) == [f"cargo check --quiet {manifest}"]
    assert owner(plan, "core/src/text.rs").done[0].verification == "evidence_required"
    assert commands(owner(plan, "core/src/stats.rs")) == [f"cargo test {manifest} stats::"]
    api = owner(plan, "core/tests/api.rs")
    assert commands(api) == [f"cargo test {manifest} --test api"]
    assert owner(plan, "core/src/stats.rs").mt_id in api.depends_on


def test_go_packages_and_single_tests() -> None:
    done = ("`Mean` of nothing is NaN", "`sum` adds all", "`main` prints the mean")
    scope = ("stats/mean.go", "stats/sum.go", "cmd/main.go")
    plan = plan_for(GO, scope, done, ("go test ./...",), files_per_mt=1)
    assert commands(owner(plan, "stats/sum.go")) == ["go test -run '^(TestSum)$' ./stats"]
    assert commands(owner(plan, "stats/mean.go")) == ["go test ./stats"]
    assert [mt.files.modify for mt in plan.definitions[:3]] == [
        ("stats/sum.go",),
        ("stats/mean.go",),
        ("cmd/main.go",),
    ]


def test_new_files_are_created_and_their_tests_wait_for_them() -> None:
    scope = ("calc/mode.py", "tests/test_mode.py")
    done = ("`mode` in calc/mode.py gives the commonest value", "tests/test_mode.py covers an empty list")
    plan = plan_for(PYTHON, scope, done, files_per_mt=1)
    made, tested = owner(plan, "calc/mode.py"), owner(plan, "tests/test_mode.py")
    assert made.files.create == ("calc/mode.py",)
    assert made.name.startswith("Create calc/mode.py")
    assert commands(made) == ["python -m py_compile calc/mode.py"]
    assert made.done[0].verification == "evidence_required"
    assert tested.depends_on == (made.mt_id,)
    assert "calc/mode.py" in tested.files.read
    assert commands(tested) == ["pytest -q tests/test_mode.py"]


def test_a_path_that_only_a_bullet_names_is_created_inside_the_scope_alone() -> None:
    plan = plan_for(PYTHON, ("calc/",), ("calc/mode.py has `mode`", "other/x.py has `x`"))
    assert owner(plan, "calc/mode.py").files.create == ("calc/mode.py",)
    assert not [mt for mt in plan.definitions if "other/x.py" in mt.files.writable]


def test_an_absent_folder_is_not_taken_for_a_file() -> None:
    plan = plan_for({"a.py": ""}, ("pkg", "pkg/new.py"), ("`new` is there",))
    assert [mt.files.create for mt in plan.definitions] == [("pkg/new.py",), ()]


def test_folders_globs_binaries_and_the_packet_itself() -> None:
    files = {**PYTHON, "calc/logo.png": b"\x89PNG\0\0", "calc/data/x.json": "{}", PACKET: "packet"}
    plan = plan_for(
        files, ("calc/*.py", "calc/data/x.json", "calc/logo.png", PACKET, "gone/**"), ("`mean` is right",)
    )
    owned = sorted(path for mt in plan.definitions for path in mt.files.writable)
    assert owned == [
        "calc/__init__.py",
        "calc/data/x.json",
        "calc/report.py",
        "calc/stats.py",
        "calc/text.py",
    ]
    assert "calc/logo.png is left out: it is binary" in remarks(plan)
    assert "gone/** is left out" in remarks(plan)
    assert PACKET in remarks(plan)


def test_a_circle_of_imports_still_has_an_order() -> None:
    files = {"a.py": "import b\n\n\ndef f():\n    pass\n", "b.py": "import a\n\n\ndef g():\n    pass\n"}
    plan = plan_for(files, ("a.py", "b.py"), ("`f` is right", "`g` is right"), files_per_mt=1)
    assert len(plan.order) == 3


def test_bullets_that_fit_no_file_go_to_closing_ones_of_at_most_eight_criteria() -> None:
    files = {f"m{i}.py": f"def work{i}():\n    pass\n" for i in range(4)}
    words = "alpha beta gamma delta epsilon zeta eta theta iota"
    bullets = tuple(f"Everything {word} holds" for word in words.split())
    named = tuple(f"`work{i}` is right" for i in range(4))
    plan = plan_for(files, tuple(files), (*named, *bullets))
    closing = [mt for mt in plan.definitions if not mt.files.writable]
    assert [len(mt.done) for mt in closing] == [8, 3]
    assert closing[1].depends_on == tuple(mt.mt_id for mt in plan.definitions[:-1])
    assert all(plan.criteria[bullet] for bullet in (*named, *bullets))


def test_a_bullet_with_no_word_in_common_goes_to_the_only_file() -> None:
    plan = plan_for({"x.py": "pass\n"}, ("x.py",), ("Zebras are striped",))
    assert plan.criteria["Zebras are striped"] == ("MT-001",)


def test_more_criteria_than_eight_for_one_file_become_a_chain() -> None:
    body = "\n\n".join(f"def work{i}():\n    return {i}" for i in range(19))
    plan = plan_for({"big.py": body}, ("big.py",), tuple(f"`work{i}` gives {i}" for i in range(19)))
    parts = [mt for mt in plan.definitions if mt.files.modify]
    assert [len(mt.done) for mt in parts] == [8, 8, 3]
    assert [mt.depends_on for mt in parts] == [(), ("MT-001",), ("MT-002",)]


def test_a_file_too_large_for_the_budget_is_split_by_definitions() -> None:
    body = "\n\n".join(f"def work{i}():\n" + f"    x = {i}\n" * 500 for i in range(8))
    plan = plan_for({"big.py": body}, ("big.py",), tuple(f"`work{i}` is right" for i in range(4)), window=8192)
    parts = [mt for mt in plan.definitions if mt.files.modify]
    assert len(parts) > 1
    assert all(mt.token_budget <= 6144 for mt in parts)
    assert [mt.depends_on for mt in parts[1:]] == [(mt.mt_id,) for mt in parts[:-1]]


def test_a_callee_is_mended_before_its_caller() -> None:
    files = {
        "a.py": "def outer():\n    return inner()\n\n\ndef inner():\n    return 1\n",
        "test_a.py": "import a\n\n\ndef test_outer():\n    a.outer()\n\n\ndef test_inner():\n    a.inner()\n",
    }
    plan = plan_for(files, ("a.py",), ("`outer` is right", "`inner` is right"), files_per_mt=1)
    assert commands(plan.definitions[0]) == ["pytest -q test_a.py::test_inner"]
    assert commands(plan.definitions[1]) == ["pytest -q test_a.py"]


def test_long_bullets_are_shortened_and_kept_whole_in_the_notes() -> None:
    bullet = "`mean` " + "must hold under every condition " * 40 + "END"
    mt = plan_for(PYTHON, ("calc/stats.py",), (bullet,)).definitions[0]
    assert len(mt.done[0].description) <= 300
    assert mt.notes is not None
    assert " ".join(bullet.split()) in mt.notes


def test_a_large_folder_is_owned_where_a_criterion_names_it() -> None:
    files = {f"pkg/m{i}.py": f"def work{i}():\n    pass\n" for i in range(60)}
    plan = plan_for(files, ("pkg/",), ("`work7` is right",))
    assert [mt.files.modify for mt in plan.definitions] == [("pkg/m7.py",), ()]
    assert "59 in-scope files need no work" in remarks(plan)


def test_a_group_of_a_folder_that_nothing_names_is_owned_by_nobody() -> None:
    files = {"pkg/a.py": "def work():\n    pass\n", "pkg/b.py": "x = 1\n", "other/c.py": "y = 1\n"}
    plan = plan_for(files, ("pkg", "other"), ("`work` is right",))
    assert [mt.files.modify for mt in plan.definitions] == [("pkg/a.py", "pkg/b.py"), ()]
    assert "1 in-scope files need no work by any criterion, e.g. other/c.py" in remarks(plan)
    alone = plan_for(files, ("pkg", "other"), ("`work` is right",), files_per_mt=1)
    assert [mt.files.modify for mt in alone.definitions] == [("pkg/a.py",), ()]


def test_a_large_scope_without_a_word_to_go_by_is_refused() -> None:
    files = {f"pkg/m{i}.py": "x = 1\n" for i in range(40)}
    with pytest.raises(JobRefused, match="which of the 40 files"):
        plan_for(files, ("pkg/",), ("All tests pass",))


def test_more_micro_tasks_than_ids_are_refused() -> None:
    files = {f"m{i}.txt": "" for i in range(1000)}
    with pytest.raises(JobRefused, match="MT-VAL-002 packet: 1001"):
        plan_for(files, tuple(files), ("All tests pass",), files_per_mt=1)


def test_a_micro_task_without_a_bullet_needs_no_model_if_its_verify_passes() -> None:
    plan = plan_for(PYTHON, ("calc/stats.py", "tests/test_calc.py"), ("`mean` is right",), files_per_mt=1)
    found = {mt.files.modify: completes_by_verify_alone(plan, mt.mt_id) for mt in plan.definitions}
    assert found == {("calc/stats.py",): False, ("tests/test_calc.py",): True, (): True}


def test_governance_commands_alone_leave_a_syntax_check() -> None:
    plan = plan_for(PYTHON, ("calc/text.py",), ("shout is loud",), ("just pre-work WP-1-Demo",))
    assert [commands(mt) for mt in plan.definitions] == [["python -m py_compile calc/text.py"]] * 2


def test_more_than_five_commands_are_joined_in_the_closing_one() -> None:
    tests = (*(f"python t{i}.py" for i in range(6)), "a | b")
    closing = plan_for(PYTHON, ("calc/text.py",), ("shout is loud",), tests).definitions[-1]
    assert commands(closing) == [
        "python t0.py && python t1.py",
        "python t2.py && python t3.py",
        "python t4.py && python t5.py",
        "a | b",
    ]


@pytest.mark.parametrize(("tier", "risk"), [("LOW", "low"), ("MEDIUM", "low"), ("HIGH", "medium")])
def test_risk_follows_the_tier(tier: str, risk: str) -> None:
    plan = plan_for(PYTHON, ("calc/text.py",), ("shout is loud",), risk_tier=tier)
    assert plan.definitions[0].risk_level.value == risk


def test_only_what_is_needed_is_read() -> None:
    files = {f"other/m{i}.py": "x = 1\n" for i in range(500)} | PYTHON
    tree = DictTree(files)
    project = Project(tree)
    assert tree.reads == []
    assert project.text("calc/text.py") == PYTHON["calc/text.py"]
    project.text("calc/text.py")
    assert tree.reads == ["calc/text.py"]
