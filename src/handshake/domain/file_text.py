"""A text file's bytes as lines, and back, with nothing lost: encoding, BOM, line endings, final newline."""

from __future__ import annotations

import codecs
import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CONTROLS = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
_BINARY_SHARE = 0.1
_MANY_PAIRS = 1_000_000


class NotText(ValueError):
    """The bytes are not a text in a known encoding."""


@dataclass(frozen=True)
class FileText:
    """Lines without their endings; `endings[i]` is that of `lines[i]`, empty only for a last line without one."""

    lines: tuple[str, ...]
    endings: tuple[str, ...]
    encoding: str = "utf-8"
    bom: bytes = b""
    final_newline: bool = True

    @property
    def usual_ending(self) -> str:
        """The commonest ending; on a tie the first that occurs; `\\n` where there is none."""
        counts = Counter(ending for ending in self.endings if ending)
        return max(counts, key=lambda ending: counts[ending]) if counts else "\n"

    def with_lines(self, rows: list[tuple[str, str]]) -> FileText:
        """The same file with other `(line, ending)` rows; its final newline is there or not as it was."""
        usual = self.usual_ending
        lines = tuple(line for line, _ in rows)
        endings = [ending or usual for _, ending in rows]
        if endings and self.lines and not self.final_newline:
            endings[-1] = ""
        return replace(self, lines=lines, endings=tuple(endings))


def text_lines(text: str) -> tuple[str, ...]:
    """The lines of a text given by a model: `""` has none, `"a"` and `"a\\n"` have one."""
    if not text:
        return ()
    plain = text.replace("\r\n", "\n")
    return tuple(plain.removesuffix("\n").split("\n"))


def line_matcher(old: Sequence[str], new: Sequence[str]) -> difflib.SequenceMatcher[str]:
    """A matcher of lines: exact, but on long texts without lines that stand everywhere, for time's sake."""
    return difflib.SequenceMatcher(None, old, new, autojunk=len(old) * len(new) > _MANY_PAIRS)


def new_file_text(lines: tuple[str, ...]) -> FileText:
    """A new file: UTF-8, `\\n`, final newline."""
    return FileText(lines, ("\n",) * len(lines))


def decode_text(data: bytes) -> FileText:
    """The bytes as lines; `encode_text` of the result gives the same bytes.

    Raises:
        NotText: a NUL outside UTF-16, many control characters, or no known encoding.
    """
    bom, encoding, text = _decoded(data)
    if len(_CONTROLS.findall(text)) > len(text) * _BINARY_SHARE or "\0" in text:
        raise NotText("binary")
    pattern = r"\r\n|\n" if "\n" in text else r"\r\n|\r"
    lines: list[str] = []
    endings: list[str] = []
    at = 0
    for match in re.finditer(pattern, text):
        lines.append(text[at : match.start()])
        endings.append(match.group())
        at = match.end()
    if at < len(text):
        lines.append(text[at:])
        endings.append("")
    return FileText(tuple(lines), tuple(endings), encoding, bom, not endings or endings[-1] != "")


def _decoded(data: bytes) -> tuple[bytes, str, str]:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return bom, encoding, data[len(bom) :].decode(encoding)
            except UnicodeDecodeError:
                raise NotText(encoding) from None
    if b"\0" in data:
        raise NotText("binary")
    for encoding in ("utf-8", "cp1252", "latin-1"):
        try:
            return b"", encoding, data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise NotText("no known encoding")


def encode_text(text: FileText) -> bytes:
    """The file's bytes.

    Raises:
        UnicodeEncodeError: a line holds a character that the file's encoding has not.
    """
    joined = "".join(line + ending for line, ending in zip(text.lines, text.endings, strict=True))
    return text.bom + joined.encode(text.encoding)
