"""The COR-701 blocks of a packet: reading them and writing them as text.

Contract: `packets-and-gates.md`, The validation manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from handshake.domain.packet import Finding, ManifestEntry
from handshake.domain.packet_lines import PacketLines
from handshake.domain.packet_names import always_quoted, quoted_name, unquoted_name
from handshake.domain.packet_scope import is_nothing, is_placeholder

GATE_CODES: Mapping[str, str] = {
    "anchors_present": "C701-G01",
    "window_matches_plan": "C701-G02",
    "rails_untouched_outside_window": "C701-G04",
    "filename_canonical_and_openable": "C701-G06",
    "pre_sha1_captured": "C701-G05",
    "post_sha1_captured": "C701-G05",
    "line_delta_equals_expected": "C701-G05",
    "all_links_resolvable": "C701-G05",
    "manifest_written_and_path_returned": "C701-G05",
    "current_file_matches_preimage": "C701-G08",
}
NO_FILE_SHA1 = "0" * 40

FIELDS = ("Target File", "Start", "End", "Line Delta", "Pre-SHA1", "Post-SHA1", "Gates Passed")
# what the lines of a block are, in order
PARTS = (*(re.sub(r"[ -]", "_", label.lower()) for label in FIELDS), *GATE_CODES)

_FIELD = re.compile(
    r"^[ \t]*+(?:[-*+][ \t]++)?\**[ \t]*(Target[ _-]File|Start|End|Line[ _-]Delta|Pre[ _-]SHA-?1|Post[ _-]SHA-?1|"
    r"Gates[ _-]Passed)[ \t]*\**[ \t]*:[ \t]*\**(.*)$",
    re.IGNORECASE,
)
_BOX = re.compile(r"^[ \t]*+[-*+][ \t]+\[([ xX])\][ \t]+`?([A-Za-z0-9_]+)`?")
_NUMBER = re.compile(r"^[+-]?\d{1,9}$")
_SHA1 = re.compile(r"^[0-9a-fA-F]{40}$")


@dataclass
class ManifestBlock:
    """One block as it stands: 0-based lines [start, end), raw field values with their lines.

    `own` names the field or the box of each line that is the block's; the others are somebody's remarks.
    """

    start: int
    end: int
    values: dict[str, tuple[str, int]] = field(default_factory=dict)
    boxes: dict[str, bool] = field(default_factory=dict)
    twice: list[tuple[str, int]] = field(default_factory=list)
    own: dict[int, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """The file it is about: its name, unquoted."""
        return unquoted_name(self.values["target_file"][0])

    @property
    def is_template(self) -> bool:
        """Whether nothing of it was filled in."""
        written = self.values["target_file"][0]
        return not written.startswith('"') and (is_placeholder(written) or is_nothing(written))


def manifest_blocks(lines: PacketLines) -> list[ManifestBlock]:
    """Every block under VALIDATION that stands neither in a fence nor in a comment."""
    blocks: list[ManifestBlock] = []
    for section in lines.sections("VALIDATION"):
        current: ManifestBlock | None = None
        for number in section:
            text = lines.live[number]
            found = _FIELD.match(text) if ":" in text else None
            if found:
                name = re.sub(r"[ _-]+", "_", found.group(1).lower()).replace("sha_1", "sha1")
                if name == "target_file":
                    current = ManifestBlock(number, number + 1)
                    blocks.append(current)
                if current is not None:
                    if name in current.values:
                        current.twice.append((name, number))
                    current.values.setdefault(name, (_bare(found.group(2)), number))
                    current.own[number] = name
                    current.end = number + 1
            elif current is not None:
                box = _BOX.match(text)
                if box:
                    gate = box.group(2).lower()
                    if gate in current.boxes:
                        current.twice.append((gate, number))
                    current.boxes.setdefault(gate, box.group(1) != " ")
                    current.own[number] = gate
                    current.end = number + 1
    return blocks


def _bare(value: str) -> str:
    text = value.strip().strip("*").strip()
    if text.startswith("`") and text.endswith("`") and len(text) > 1:
        return text[1:-1].strip()
    return text


def read_manifest(lines: PacketLines, path: str) -> tuple[tuple[ManifestEntry, ...], list[Finding]]:
    """The filled entries, and a finding for each field that cannot be read. A template block is neither."""
    entries: list[ManifestEntry] = []
    findings: list[Finding] = []
    for block in manifest_blocks(lines):
        if block.is_template:
            continue
        problems = _problems(block)
        findings += [
            Finding(
                severity="error",
                code="C701-G05",
                file=path,
                line=line + 1,
                what=f"manifest of {block.target}: {what}",
                mend="copy the block from templates/packet.md",
            )
            for what, line in problems
        ]
        if not problems:
            values = {name: value for name, (value, _) in block.values.items()}
            entries.append(
                ManifestEntry(
                    target_file=block.target,
                    start=int(values["start"]),
                    end=int(values["end"]),
                    line_delta=int(values["line_delta"]),
                    pre_sha1=values["pre_sha1"].lower(),
                    post_sha1=values["post_sha1"].lower(),
                    gates=dict(block.boxes),
                    line=block.start + 1,
                )
            )
    return tuple(entries), findings


def _problems(block: ManifestBlock) -> list[tuple[str, int]]:
    problems = [(f"{name} stands twice", line) for name, line in block.twice]
    for label, name in zip(FIELDS[:-1], PARTS, strict=False):
        value, line = block.values.get(name, ("", block.start))
        if name not in block.values:
            problems.append((f"{label} is missing", block.start))
        elif name in ("start", "end", "line_delta") and not _NUMBER.match(value):
            problems.append((f"{label} `{value}` is not a whole number", line))
        elif name in ("pre_sha1", "post_sha1") and not _SHA1.match(value):
            problems.append((f"{label} `{value}` is not 40 hex digits", line))
    if "gates_passed" not in block.values and not block.boxes:
        problems.append(("Gates Passed is missing", block.start))
    problems += [(f"{name} is no gate", block.start) for name in block.boxes if name not in GATE_CODES]
    return problems


def block_text(entry: ManifestEntry) -> list[str]:
    """The lines of one block, as `PARTS` names them. A box is ticked where `entry.gates` says so."""
    return [
        f"- **Target File**: {_quoted(entry.target_file)}",
        f"- **Start**: {entry.start}",
        f"- **End**: {entry.end}",
        f"- **Line Delta**: {entry.line_delta}",
        f"- **Pre-SHA1**: `{entry.pre_sha1}`",
        f"- **Post-SHA1**: `{entry.post_sha1}`",
        "- **Gates Passed**:",
        *(f"  - [{'x' if entry.gates.get(name) else ' '}] {name}" for name in GATE_CODES),
    ]


def template_block() -> list[str]:
    """The seven fields and ten boxes, to be filled."""
    return [
        "- **Target File**: `path/to/file`",
        "- **Start**: <line>",
        "- **End**: <line>",
        "- **Line Delta**: <added - deleted>",
        "- **Pre-SHA1**: `<40 hex digits>`",
        "- **Post-SHA1**: `<40 hex digits>`",
        "- **Gates Passed**:",
        *(f"  - [ ] {name}" for name in GATE_CODES),
    ]


def _quoted(path: str) -> str:
    misread = is_placeholder(path) or is_nothing(path)
    return f"`{always_quoted(path) if misread else quoted_name(path)}`"
