"""Files too large for a budget: split by definitions, shown in part, never over the budget."""

from __future__ import annotations

from itertools import pairwise

import pytest
from planning_trees import plan_for

from handshake.domain.microtask import MicroTaskDefinition, Plan
from handshake.planning import plan_as_text
from handshake.planning.groups import CutLimits, Groups, WorkFile
from handshake.planning.refine import improve
from handshake.planning.sizes import largest_budget, tokens_for_files

WINDOW = 4096
LIMIT = tokens_for_files(WINDOW)


def function(name: str, lines: int, word: str = "x") -> str:
    return f"def {name}():\n" + f"    {word} = 1\n" * lines + f"    return {word}\n\n\n"


def class_of(name: str, methods: dict[str, int]) -> str:
    text = f"class {name}:\n"
    for method, lines in methods.items():
        text += f"    def {method}(self):\n" + "        x = 1\n" * lines + "\n"
    return text + "\n"


def parts_of(plan: Plan, path: str) -> list[MicroTaskDefinition]:
    return [mt for mt in plan.definitions if path in mt.files.writable]


BIG = {"big.py": "".join(function(f"step_{number}", 250) for number in range(12))}


def test_bullets_about_different_definitions_go_to_parts_in_a_chain() -> None:
    done = tuple(f"`step_{number}` returns 2" for number in (1, 5, 9))
    plan = plan_for(BIG, ("big.py",), done, window=WINDOW)
    parts = parts_of(plan, "big.py")
    assert [plan.focus[mt.mt_id]["big.py"] for mt in parts] == [("step_1",), ("step_5",), ("step_9",)]
    assert [mt.name.split(":")[0] for mt in parts] == [f"Change big.py ({part}/3)" for part in (1, 2, 3)]
    assert all(before.mt_id in after.depends_on for before, after in pairwise(parts))
    assert all(plan.criteria[bullet] == (mt.mt_id,) for bullet, mt in zip(done, parts, strict=True))
    assert all(mt.token_budget <= largest_budget(WINDOW) for mt in parts)
    assert "about  step_5 in big.py" in plan_as_text(plan)


def test_small_definitions_share_a_part() -> None:
    files = {"big.py": BIG["big.py"] + function("near", 5) + function("far", 5)}
    plan = plan_for(files, ("big.py",), ("`near` returns 2", "`far` returns 2"), window=WINDOW)
    assert [plan.focus[mt.mt_id]["big.py"] for mt in parts_of(plan, "big.py")] == [("far", "near")]


def test_one_bullet_about_more_than_a_budget_holds_is_in_several_parts() -> None:
    bullet = "`step_1`, `step_2`, `step_3` and `step_4` return 2"
    plan = plan_for(BIG, ("big.py",), (bullet,), window=WINDOW)
    parts = parts_of(plan, "big.py")
    assert len(parts) == 4
    assert plan.criteria[bullet] == tuple(mt.mt_id for mt in parts)


def test_a_bullet_that_names_no_definition_finds_its_own_by_words() -> None:
    files = {"big.py": BIG["big.py"] + function("quiet", 5, word="temperature")}
    plan = plan_for(files, ("big.py",), ("In big.py the temperature is in Kelvin",), window=WINDOW)
    (mt,) = parts_of(plan, "big.py")
    assert plan.focus[mt.mt_id] == {"big.py": ("quiet",)}


def test_a_bullet_about_all_of_a_large_file_goes_through_it_piece_by_piece() -> None:
    plan = plan_for(BIG, ("big.py",), ("big.py holds zebras",), window=WINDOW)
    parts = parts_of(plan, "big.py")
    names = [name for mt in parts for name in plan.focus[mt.mt_id]["big.py"]]
    assert sorted(names) == sorted(f"step_{number}" for number in range(12))
    assert len(parts) > 1


def test_a_class_too_long_is_taken_apart_by_its_methods() -> None:
    files = {"big.py": class_of("Engine", {f"run_{number}": 200 for number in range(8)})}
    plan = plan_for(files, ("big.py",), ("big.py holds zebras",), window=WINDOW)
    names = [name for mt in parts_of(plan, "big.py") for name in plan.focus[mt.mt_id]["big.py"]]
    assert sorted(names) == [f"Engine.run_{number}" for number in range(8)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (function("endless", 2000), "big.py: endless alone is over the budget; shown in part"),
        ("x = (\n" + "    1 +\n" * 4000 + ")\n", "big.py: x alone is over the budget; shown in part"),
    ],
)
def test_what_no_part_can_hold_is_named(text: str, said: str) -> None:
    plan = plan_for({"big.py": text}, ("big.py",), ("big.py is right",), window=WINDOW)
    assert said in [finding.message for finding in plan.findings]


def test_a_large_text_without_definitions_is_named_and_kept() -> None:
    plan = plan_for({"words.txt": "some words\n" * 4000}, ("words.txt",), ("words.txt is right",), window=WINDOW)
    assert len(parts_of(plan, "words.txt")) == 1
    assert any("has no definitions to split it by" in finding.message for finding in plan.findings)


def test_a_large_file_joins_its_neighbours_with_what_is_shown_of_it() -> None:
    files = {
        "big.py": "import near\n" + BIG["big.py"] + function("work", 5),
        "near.py": function("help_work", 5),
    }
    done = ("`work` calls `help_work`",)
    plan = plan_for(files, ("big.py", "near.py"), done, window=WINDOW)
    assert plan.definitions[0].files.modify == ("big.py", "near.py")
    assert plan.focus == {"MT-001": {"big.py": ("work",)}}


def groups_of(homes: dict[str, str], limit: int = 5) -> Groups:
    groups = Groups([WorkFile(path, False, False, 1, ()) for path in sorted(homes)], CutLimits(limit))
    for path, home in homes.items():
        if path != home:
            groups.move(path, home)
    return groups


def test_files_change_places_where_both_groups_are_full() -> None:
    groups = groups_of({"a": "a", "b": "a", "c": "c", "d": "c"}, limit=2)
    improve(groups, {("a", "c"): 3, ("b", "d"): 3, ("a", "b"): 1})
    assert sorted(sorted(members) for members in groups.members.values()) == [["a", "c"], ["b", "d"]]


def test_a_move_never_leaves_a_single_group() -> None:
    groups = groups_of({"a": "a", "b": "b"})
    improve(groups, {("a", "b"): 3})
    assert len(groups.members) == 2
