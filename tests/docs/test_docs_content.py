"""Links lead somewhere, diagrams are the tables', and nothing speaks of one machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from handshake.config.failpoints import NAMES
from handshake.domain.decision import HumanDecision
from handshake.domain.decision_file import read_decision
from handshake.domain.states import JOB_TRANSITIONS, PHASE_TRANSITIONS, mermaid

FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
STATES = {"job": mermaid(JOB_TRANSITIONS), "phase": mermaid(PHASE_TRANSITIONS)}
REWRITE = "HANDSHAKE_REWRITE_DOCS"

# machine paths and hosts of package registries; written so that this file does not hold them itself
FORBIDDEN = re.compile(
    r"(?<![\w.])/wor[k]/|pyp[i]\.(?:org|python)|pythonhoste[d]|registry\.npmj[s]|crates\.i[o]/|proxy\.golan[g]"
    r"|/roo[t]/\.?\w|/hom[e]/(?!linuxbrew)\w+/"
)


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    found = re.findall(r"^#{1,6} (.+)$", FENCE.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in found}


def test_every_link_leads_somewhere(root: Path, documents: dict[str, str]) -> None:
    broken = []
    for path, text in documents.items():
        for target in LINK.findall(FENCE.sub("", text)):
            if target.startswith("https://"):
                continue
            file, _, anchor = target.partition("#")
            place = (root / path).parent / file if file else root / path
            if not place.exists():
                broken.append(f"{path}: {target}")
            elif anchor and anchor not in anchors(place.read_text(encoding="utf-8")):
                broken.append(f"{path}: {target} (no such heading)")
    assert broken == []


def test_every_decision_is_listed(root: Path, documents: dict[str, str]) -> None:
    listed = LINK.findall(documents["docs/decisions/README.md"])
    files = sorted(file.name for file in (root / "docs" / "decisions").glob("[0-9]*.md"))
    assert listed == files
    for number, name in enumerate(files, 1):
        assert name.startswith(f"{number:04d}-")
        assert documents[f"docs/decisions/{name}"].startswith(f"# {number}. ")


def with_diagrams(text: str) -> str:
    for name, diagram in STATES.items():
        block = re.compile(rf"(<!-- states: {name} -->\n```mermaid\n).*?(^```$)", re.DOTALL | re.MULTILINE)
        text, count = block.subn(lambda m, d=diagram: m[1] + d + m[2], text)
        assert count == 1, name
    return text


def test_the_diagrams_are_those_of_the_tables(root: Path, documents: dict[str, str]) -> None:
    text = documents["docs/architecture.md"]
    wanted = with_diagrams(text)
    if os.environ.get(REWRITE) == "1":
        (root / "docs" / "architecture.md").write_text(wanted, encoding="utf-8")
    assert text == wanted, f"run this test with {REWRITE}=1 to rewrite them"


def test_every_failpoint_is_told(documents: dict[str, str]) -> None:
    text = documents["docs/architecture.md"]
    told = re.findall(r"`([a-z.]+(?::before|:after)|verify\.(?:start|end))`", text[text.index("## Failpoints") :])
    assert tuple(told) == NAMES


def test_every_floor_is_told(root: Path, documents: dict[str, str]) -> None:
    text = documents["docs/architecture.md"]
    packages = sorted(p.parent.name for p in (root / "src" / "handshake").glob("*/__init__.py"))
    assert sorted(re.findall(r"^\| \d+ \| `handshake\.(\w+)` \|", text, flags=re.MULTILINE)) == packages


@pytest.mark.skipif(os.name == "nt", reason="awk")
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("demo", "python3 -m venv .venv && .venv/bin/pip install --quiet '.[embedded]' && .venv/bin/handshake demo"),
        ("check", "python3 .ci/check.py"),
    ],
)
def test_the_readmes_commands_are_found_as_ci_finds_them(root: Path, name: str, command: str) -> None:
    script = (root / ".ci" / "run").read_text(encoding="utf-8")
    function = re.search(r"^readme_command\(\) \{\n.*?^\}$", script, re.DOTALL | re.MULTILINE)
    assert function is not None
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{function.group()}\nreadme_command {name}"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == command + "\n"


def tracked_files(root: Path) -> list[str]:
    done = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.decode("utf-8").split("\0") if name]


def test_nothing_speaks_of_one_machine(root: Path) -> None:
    found = []
    for name in tracked_files(root):
        file = root / name
        if not file.is_file():
            continue
        text = file.read_bytes().decode("utf-8", "replace")
        found += [
            f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
            for match in FORBIDDEN.finditer(text)
        ]
    assert found == []


@pytest.mark.parametrize(
    "parts", [("/", "work/main"), ("https://py", "pi.org/x"), ("/ro", "ot/.cache"), ("/ho", "me/ada/x")]
)
def test_a_word_of_one_machine_is_found(parts: tuple[str, str]) -> None:
    assert FORBIDDEN.search("see " + "".join(parts))


@pytest.mark.parametrize("text", ["the.worktree/work/x", "a/work/b", "pip install handshake", "~/.config/handshake"])
def test_an_ordinary_word_is_none(text: str) -> None:
    assert not FORBIDDEN.search(text)


def test_the_picture_brings_its_own_everything(root: Path) -> None:
    svg = (root / "docs" / "demo.svg").read_text(encoding="utf-8")
    assert "url(http" not in svg
    assert "@import" not in svg
    assert "not&#160;true" in svg
    assert "escalates" in svg
    assert "completed" in svg


def test_the_decision_by_hand_is_one_that_is_read(root: Path) -> None:
    text = (root / "docs" / "decisions" / "0016-decisions-are-files.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    decision = read_decision(example.encode(), "the example")
    assert (decision.decision, decision.number) == ("continue", 1)
    optional = {name for name, field in HumanDecision.model_fields.items() if not field.is_required()}
    assert all(re.search(rf"\b{name}\b", example) for name in optional - {"schema_version"})
