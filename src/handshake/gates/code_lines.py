"""Which lines of a file hold something, and which ones differ from before. Pure, on bytes."""

from __future__ import annotations

from pathlib import PurePosixPath

from handshake.domain.file_text import line_matcher

_SLASHED = (
    ".js .jsx .mjs .cjs .ts .tsx .mts .cts .rs .go .c .h .cc .cpp .hpp .cxx .java .kt .kts .swift .cs .scala .dart "
    ".scss .less .css .proto .groovy .gradle .zig .v .sv .m .mm .php"
)
_LINE_COMMENTS = {
    "#": ".py .pyi .sh .bash .zsh .rb .pl .r .yaml .yml .toml .ini .cfg .conf .mk .cmake .dockerfile .tf .nix .jl",
    "//": _SLASHED,
    "--": ".sql .lua .hs .elm .ada .adb .ads .vhd .vhdl",
}
_BLOCK_COMMENTS = {
    ("/*", "*/"): f"{_SLASHED} .sql",
    ("<!--", "-->"): ".html .htm .xml .svg .vue .svelte",
    ("{-", "-}"): ".hs .elm",
}
_LINE_OF = {suffix: start for start, suffixes in _LINE_COMMENTS.items() for suffix in suffixes.split()}
_BLOCK_OF = {suffix: marks for marks, suffixes in _BLOCK_COMMENTS.items() for suffix in suffixes.split()}


def lines_of(data: bytes | None) -> list[str]:
    """The lines of a file, leniently decoded; none for no file."""
    if not data:
        return []
    text = data.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return text.removesuffix("\n").split("\n")


def held_lines(path: str, lines: list[str]) -> frozenset[int]:
    """Numbers (1-based) of the lines that are neither blank nor only a comment.

    In a language that is not known only blank lines hold nothing. A docstring holds something.
    """
    suffix = PurePosixPath(path).suffix.lower() or f".{PurePosixPath(path).name.lower()}"
    start = _LINE_OF.get(suffix)
    opener, closer = _BLOCK_OF.get(suffix, ("", ""))
    found: set[int] = set()
    inside = False
    for number, line in enumerate(lines, 1):
        rest = line.strip()
        while rest:
            if inside:
                _, closed, rest = rest.partition(closer)
                rest, inside = rest.strip(), not closed
            elif opener and rest.startswith(opener):
                rest, inside = rest[len(opener) :], True
            else:
                break
        if rest and not (start and rest.startswith(start)):
            found.add(number)
    return frozenset(found)


def added_lines(before: list[str], after: list[str]) -> frozenset[int]:
    """Numbers (1-based) of the lines of `after` that are new or other than in `before`."""
    found: set[int] = set()
    for tag, _, _, start, end in _opcodes(before, after):
        if tag in ("insert", "replace"):
            found.update(range(start + 1, end + 1))
    return frozenset(found)


def touched_lines(before: list[str], after: list[str]) -> frozenset[int]:
    """The added lines, and the two lines around each place where lines were taken away."""
    found = set(added_lines(before, after))
    for tag, _, _, start, _ in _opcodes(before, after):
        if tag == "delete":
            found.update({start, start + 1})
    return frozenset(number for number in found if 1 <= number <= len(after))


def _opcodes(before: list[str], after: list[str]) -> list[tuple[str, int, int, int, int]]:
    """difflib's opcodes; the equal ends are cut off first, for the matcher is slow on long files."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    codes = line_matcher(old, new).get_opcodes()
    return [(str(tag), i1 + head, i2 + head, j1 + head, j2 + head) for tag, i1, i2, j1, j2 in codes]
