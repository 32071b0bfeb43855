"""What must hold of any reply whatever, looked at from outside the parser. Used by `fuzz_replies.py` and a test.

A broken promise is an AssertionError that names it. The second opinion on where a claim stands is a Markdown
parser's, and a count of `<think>` tags; what is written is looked at in a real folder, after the real tool bus.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

from handshake.domain.clock import SystemClock, SystemIds
from handshake.domain.edit_text import resolve_edit
from handshake.domain.file_text import NotText, decode_text, text_lines
from handshake.domain.microtask import FileAccess
from handshake.domain.reply import Edit, ParsedReply
from handshake.loop.left_out import left_out, put_back
from handshake.models.reply import parse_reply
from handshake.toolbus.bus import ToolBus
from handshake.toolbus.capabilities import default_profiles
from handshake.toolbus.operations import edit_operation
from handshake.toolbus.sandbox import OffSandbox

MT = "MT-001"
CLAIM = f'<mt_complete>\nMT_ID: {MT}\nEVIDENCE:\n- "adds" -> a.py:1-2\n</mt_complete>'
ACCESS = FileAccess(modify=("a.py", "docs/b.md"), create=("new/c.py",))
ALLOWED = ("a.py", "docs/b.md", "new/c.py")
CONTENTS = (
    b"x = 1\n\n\ndef f(a):\n    return a + x\n",
    b"x = 1\r\ndef f():\r\n\treturn x\r\n",
    b"\xef\xbb\xbfx = 1\nif x:\n    y = 2",
    "s = 'ä'\n\n\n\n".encode("cp1252"),
    b"\xff\xfex\x00\n\x00",
    b"\x89PNG\x00\x01",
    b"",
    b"".join(b"line_%d = %d\n" % (n, n) for n in range(12)),
)
LONGEST_S = 2.0
"""Far above what any reply of the lengths that are tried needs; a parser that counts in squares gets there."""

_LINE_END = re.compile(r"\n|\r")  # a carriage return alone ends a line too; pairs were made one
_TAG = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
_FENCE_LIKE = re.compile(r"^[ \t]*(`{3,}|~{3,})(.*)$", re.MULTILINE)
_SHELTERS = re.compile(r"^[ \t]*(?:`{3}|~{3}|>)", re.MULTILINE)
_ODD = re.compile(r"^(?: {4,}| *\t\s*)(?:`{3}|~{3})|^[ \t]*(?:[-*+>]|\d+[.)])", re.MULTILINE)


class Place:
    """A worktree of three files, one of which is not there yet, with things around it that must stay."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.worktree = root / "worktree"
        for folder in (self.worktree / "docs", root / "outside"):
            folder.mkdir(parents=True)
        (root / "outside" / "kept.py").write_bytes(b"kept = 1\n")
        (self.worktree / "kept.py").write_bytes(b"kept = 2\n")
        (self.worktree / "link.py").symlink_to(root / "outside" / "kept.py")
        (self.worktree / "away").symlink_to(root / "outside")
        self.ids = SystemIds()
        self.bus = ToolBus(
            worktree=self.worktree,
            clock=SystemClock(),
            sandbox=OffSandbox(),
            profiles=default_profiles(()),
            record=lambda *_: None,
            artifact_prefix="jobs/j/steps/s",
        )

    def seen(self) -> dict[str, bytes]:
        """Every file below the root, temporary ones too; links by what they name."""
        places = (place for place in self.root.rglob("*") if place.is_symlink() or place.is_file())
        return {
            place.relative_to(self.root).as_posix(): str(place.readlink()).encode()
            if place.is_symlink()
            else place.read_bytes()
            for place in places
        }

    def read(self, path: str) -> bytes | None:
        """A file of the worktree."""
        place = self.worktree / path
        return place.read_bytes() if place.is_file() else None

    def reset(self, content: bytes) -> None:
        """The three files as before, one of them with this content."""
        (self.worktree / "a.py").write_bytes(content)
        (self.worktree / "docs" / "b.md").write_bytes(b"# B\n\ntext\n")
        (self.worktree / "new" / "c.py").unlink(missing_ok=True)
        if (self.worktree / "new").is_dir():
            (self.worktree / "new").rmdir()


def read(text: str, *, single: bool = False) -> ParsedReply:
    """The reply as the loop reads it, with what holds of every reading."""
    began = time.process_time()
    parsed = parse_reply(text, mt_id=MT, writable=ALLOWED, single_file_fence=single)
    assert time.process_time() - began < LONGEST_S, "reading takes too long"
    signal = parsed.signal
    assert not (parsed.edits and parsed.edit_errors), "edits beside errors"
    assert signal.claimed_complete + signal.blocked + (signal.malformed is not None) <= 1, "two verdicts on a signal"
    assert bool(signal.evidence) == signal.claimed_complete, "evidence and claim do not go together"
    assert all("\n" not in line for line in (*parsed.edit_errors, signal.malformed or "")), "a reason of two lines"
    if signal.claimed_complete:
        assert re.search(rf"MT_ID\s*:\s*{MT}", text), "a claim for another"
    if signal.claimed_complete or signal.blocked:
        assert stands_in_the_open(text, signal.raw_block or ""), "a signal from what is fenced, quoted or thought"
    return parsed


def stands_in_the_open(text: str, raw: str) -> bool:
    """A second opinion: whether the block stands, somewhere, outside quotations, reasoning and foreign fences.

    True as well where the two ways of reading may differ by intention: fences in lists, fences in fences, and
    `<think>` beside fences.
    """
    text = text.replace("\r\n", "\n")
    places = [found.start() for found in re.finditer(f"^{re.escape(raw)}", text, re.MULTILINE)]
    if not places:  # an edit in the middle was taken out of it
        tag = re.escape(raw.partition("\n")[0])
        places = [found.start() for found in re.finditer(f"^{tag}$", text, re.MULTILINE)]
    if not places:
        return bool(_TAG.search(text))  # a tag was cut out of the block's own line
    if _TAG.search(text):
        return _SHELTERS.search(text) is not None or any(not _thought(text, at) for at in places)
    marks = _FENCE_LIKE.findall(text)
    if _ODD.search(text.replace(raw, "")) or sum(bool(info.strip()) for _, info in marks) > 1:
        return True
    fences = [token for token in _markdown().parse(text) if token.type == "fence" and token.map]
    lines = [len(_LINE_END.findall(text, 0, at)) for at in places]
    return any(
        all(
            token.content.strip() == raw.strip()
            for token in fences
            if token.map and token.map[0] <= line < token.map[1]
        )
        for line in lines
    )


def _thought(text: str, at: int) -> bool:
    before, after = _TAG.findall(text[:at]), _TAG.findall(text[at:])
    return (bool(before) and not before[-1].startswith("</")) or (bool(after) and after[0].startswith("</"))


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark").disable(["html_block", "html_inline", "code"])


def judge_quoted(text: str) -> None:
    """Each line quoted."""
    parsed = read("\n".join(f"> {line}" for line in text.replace("\r\n", "\n").split("\n")))
    assert not parsed.edits and not parsed.signal.claimed_complete and not parsed.signal.blocked, "from a quotation"


def judge_thought(text: str) -> None:
    """All of it reasoning that does not end."""
    parsed = read(f"<think>{_TAG.sub(' ', text)}")
    assert not parsed.edits and not parsed.signal.claimed_complete and not parsed.signal.blocked, "from reasoning"
    closed = read(f"<think>{_TAG.sub(' ', text)}\n</think>\n{CLAIM}")
    assert closed.signal.claimed_complete and not closed.edits, "reasoning hides the claim after it"


def judge_fenced(text: str) -> None:
    """All of it the content of a file: it comes back to the character, and says nothing."""
    text = text.replace("\r", "")
    mark = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=2) + 1)
    mark = mark if len(mark) > 2 else "```"
    parsed = read(f"FILE: a.py\n{mark}\n{text}\n{mark}\n")
    assert not parsed.signal.claimed_complete and not parsed.signal.blocked, "from an edit's content"
    first = next((line for line in text.split("\n") if line.strip()), "")
    if "SEARCH" in first or "REPLACE" in text or "file" in text.split("\n")[0].lower():
        return
    assert [edit.content for edit in parsed.edits] == [f"{text}\n"], "content is not what was sent"


def judge_followed(text: str) -> None:
    """A claim before and after it: never one of two."""
    if not _TAG.search(text) and read(text).signal.claimed_complete:
        assert not read(f"{CLAIM}\n\n{text}").signal.claimed_complete, "one of two claims"


def judge_repeated(text: str) -> None:
    """Tens of kilobytes of the same, for one in fifty: in a time that grows with the length alone."""
    if text and len(text) % 53 == 7:
        read(text * (30_000 // len(text)))


def judge_applied(text: str, place: Place) -> None:
    """Its edits, also with what they forgot put back: in the task's files alone, all or none, to the character."""
    content = CONTENTS[len(text) % len(CONTENTS)]
    parsed = read(text, single=True)
    if not parsed.edits:
        return
    place.reset(content)
    _judge_edits(parsed.edits, place)
    place.reset(content)
    files = {path: place.read(path) for path in ALLOWED}
    added = put_back(parsed, files, files, "")
    if added is not None:
        assert added.names and not left_out(added.parsed.edits, files, files, ""), "something is still left out"
        _judge_edits(added.parsed.edits, place)


def _judge_edits(edits: tuple[Edit, ...], place: Place) -> None:
    before = place.seen()
    operation, payloads = edit_operation(place.ids.uuid7(), edits, ACCESS)
    result = place.bus.run(operation, payloads, stage="iteration")
    after = place.seen()
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {f"worktree/{path}" for path in ALLOWED}, f"written outside: {sorted(changed)}"
    if result.status != "succeeded":
        assert not changed, f"half a reply was written: {sorted(changed)}"
        return
    written = {f"worktree/{path}" for path in result.facts["written"]}
    assert written == changed, "written and told differ"
    for edit in edits:
        _judge_written(edit, before.get(f"worktree/{_plain(edit.path)}"), after[f"worktree/{_plain(edit.path)}"])


def _plain(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _judge_written(edit: Edit, before: bytes | None, after: bytes) -> None:
    if edit.form == "whole":
        sent = text_lines((edit.content or "").removeprefix("\ufeff"))
        if sent and not sent[-1] and not _ends_with_newline(before):
            return  # a blank last line and the newline that the file has not are the same byte
        assert decode_text(after).lines == sent or (not sent and not after), "a whole file is not what was sent"
    else:
        assert resolve_edit(before, edit).data == after, "replaced otherwise than resolved"
    if before:
        try:
            old, new = decode_text(before), decode_text(after)
        except NotText as problem:
            raise AssertionError("a binary file was edited") from problem
        assert not new.lines or (old.bom, old.final_newline) == (new.bom, new.final_newline), "BOM or final newline"


def _ends_with_newline(data: bytes | None) -> bool:
    return not data or data.rstrip(b"\0").endswith((b"\n", b"\r"))


JUDGES: tuple[Callable[[str], None], ...] = (
    judge_quoted,
    judge_thought,
    judge_fenced,
    judge_followed,
    judge_repeated,
)


def judge(text: str, place: Place) -> None:
    """All of it."""
    read(text)
    for one in JUDGES:
        one(text)
    judge_applied(text, place)
