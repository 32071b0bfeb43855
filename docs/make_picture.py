"""Draw `docs/demo.svg` from a real `handshake demo --scripted`.

    python docs/make_picture.py             run the demo and draw it
    python docs/make_picture.py --lines     print the chosen lines instead

The demo runs in a pseudo terminal, so colours and widths are those a person sees. Most prompts and
replies are left out; a line `…` says where. Linux and macOS.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import shutil
import struct
import sys
import tempfile
from pathlib import Path

COLUMNS = 118
PICTURE = Path(__file__).with_name("demo.svg")
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
CUT = "\x1b[2m          …\x1b[0m"

_PIECES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LESS_TELLING = re.compile(
    r"^handshake: watching|tokens in, |distillation candidate|^  (review|merge|log): |^Look further|^  handshake -C "
    r"|^[\w-]+: completed$"
)


def main() -> int:
    """Run, choose, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--lines", action="store_true", help="print the chosen lines, draw nothing")
    wanted = parser.parse_args()
    chosen = choose(screen(recorded()))
    if wanted.lines:
        sys.stdout.write("\n".join(chosen) + "\n")
        return 0
    PICTURE.write_text(drawn(chosen), encoding="utf-8")
    sys.stdout.write(f"wrote {PICTURE.name}: {len(chosen)} lines\n")
    return 0


def recorded() -> str:
    """What a terminal of `COLUMNS` columns receives from the demo, control codes included."""
    import fcntl
    import termios

    folder = Path(tempfile.mkdtemp(prefix="handshake-picture-"))
    try:
        child, master = pty.fork()
        if child == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
            os.environ.update({"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "HANDSHAKE_DEBUG": ""})
            os.environ.pop("NO_COLOR", None)
            command = [sys.executable, "-m", "handshake", "demo", "--scripted", "--dir", str(folder / "shop")]
            os.execv(sys.executable, command)
        data = _read_all(master)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit("the demo failed:\n" + data.decode("utf-8", "replace"))
        return data.decode("utf-8", "replace").replace(str(folder), "/tmp")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_all(master: int) -> bytes:
    data = b""
    while True:
        try:
            piece = os.read(master, 65_536)
        except OSError:  # Linux says EIO when the other side is closed
            return data
        if not piece:
            return data
        data += piece


def screen(text: str) -> list[str]:
    """The lines that stay on the terminal, colours kept: moving lines overwrite themselves."""
    lines, row = [""], 0
    fresh = False  # after a carriage return the next text begins the line anew
    for match in _PIECES.finditer(text):
        piece = match.group()
        if piece == "\n":
            row, fresh = row + 1, False
            if row == len(lines):
                lines.append("")
        elif piece == "\r":
            fresh = True
        elif piece.endswith("A") and piece.startswith("\x1b["):
            row = max(0, row - int(piece[2:-1] or 1))
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif _COLOUR.fullmatch(piece) or not piece.startswith("\x1b"):
            lines[row] = piece if fresh else lines[row] + piece
            fresh = False
    return [line.rstrip() for line in lines]


def choose(lines: list[str]) -> list[str]:
    """The telling ones: what is done, one false claim word by word, both branches, the first manifest block."""
    chosen = ["\x1b[1m$ handshake demo --scripted\x1b[0m"]
    said: list[str] = []
    shown_claims = 0
    for line in lines:
        plain = _COLOUR.sub("", line)
        if plain.startswith("          "):
            said.append(line)
            continue
        if said and shown_claims == 0 and (claim := _claim(said, of="MT-003")):
            chosen += [CUT, *claim]
            shown_claims = 1
        said = []
        if plain or chosen[-1]:
            chosen.append(line)
    chosen = [line for line in chosen if not _LESS_TELLING.search(_COLOUR.sub("", line))]
    return [row for line in _without_middle(_until_first_block(chosen)) for row in _wrapped(line)]


def _claim(said: list[str], *, of: str) -> list[str]:
    """The claim of completion in an excerpt of a reply, if it is that micro-task's."""
    plain = [_COLOUR.sub("", line) for line in said]
    begins = [number for number, line in enumerate(plain) if "<mt_complete>" in line and "block" not in line]
    if not begins or not any(f"MT_ID: {of}" in line for line in plain[begins[-1] :]):
        return []
    return said[begins[-1] :]


def _until_first_block(lines: list[str]) -> list[str]:
    """Up to the end of the manifest's first block."""
    blocks = [number for number, line in enumerate(lines) if line.startswith("- **Target File**")]
    return [*lines[: blocks[1]], CUT] if len(blocks) > 1 else lines


def _without_middle(lines: list[str]) -> list[str]:
    """The run's log without the commits of other micro-tasks than the one that escalated."""
    kept: list[str] = []
    for line in lines:
        other = re.match(r"\* \w+ MT-\d+( iter \d+)?: (asking|complete)|\* \w+ MT-\d+ starts", line)
        if other and "MT-003" not in line:
            if kept[-1] != CUT:
                kept.append(CUT)
            continue
        kept.append(line)
    return kept


def _wrapped(line: str) -> list[str]:
    """The rows a terminal makes of a line, its colour on each; a commit's or a quoted line is cut instead."""
    plain = _COLOUR.sub("", line)
    if len(plain) <= COLUMNS:
        return [line]
    colour = next(iter(_COLOUR.findall(line)), "")
    if plain.startswith(("* ", "          | ")):
        return [f"{colour}{plain[: COLUMNS - 1]}…\x1b[0m"]
    return [f"{colour}{plain[start : start + COLUMNS]}\x1b[0m" for start in range(0, len(plain), COLUMNS)]


def drawn(lines: list[str]) -> str:
    """The lines as an SVG of a terminal, without fonts from elsewhere."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    form = re.sub(r"\s*@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    form = form.replace("Fira Code, monospace", FONTS)
    form = form.replace("<svg ", '<svg xml:space="preserve" ')  # else some renderers drop the indentation
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        for line in lines:
            console.print(Text.from_ansi(line), no_wrap=True, crop=True, overflow="crop", highlight=False)
        svg: str = console.export_svg(
            title="handshake demo --scripted", theme=MONOKAI, code_format=form, unique_id="demo"
        )
    return "\n".join(row.rstrip() for row in svg.splitlines()) + "\n"


if __name__ == "__main__":
    sys.exit(main())
