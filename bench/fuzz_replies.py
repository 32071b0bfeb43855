"""Replies that no model would send, by the million: does the parser keep its promises? `judge_replies.py` says which.

    python bench/fuzz_replies.py FOLDER [--minutes N] [--engine atheris|hypothesis]
    python bench/fuzz_replies.py FOLDER --keep FILE

Minutes are of processor time. FOLDER keeps the corpus that atheris grows, and a file in `finds/` for each promise
that was broken, with the reply that broke it. atheris (guided by coverage of the parser, with the protocol's words as
its dictionary) is in the dependency group `fuzz`; hypothesis puts the protocol's words together at random. `--keep`
writes the finds, and of the corpus the shortest reply of each kind, into a file that a test replays.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

CLAIM = '<mt_complete>\nMT_ID: MT-001\nEVIDENCE:\n- "adds" -> a.py:1-2\n</mt_complete>'
BLOCKED = "<blocked>\nREASON: no schema\nNEED: docs/schema.md\n</blocked>"
WHOLE = "FILE: a.py\n```py\nx = 2\n\n\ndef f(a):\n    return a + x\n```"
PARTS = "FILE: a.py\n```\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n```"
WORDS = (
    *("<think>", "</think>", "<thinking>", "<mt_complete>", "</mt_complete>", "<blocked>", "</blocked>"),
    *("<MT_COMPLETE>", "<|im_end|>", "</s>", "MT_ID: MT-001", "MT_ID: MT-002", "EVIDENCE:", "REASON: x", "NEED: y"),
    *(
        '- "adds" -> a.py:1',
        '* "adds" → `a.py:1-2`',
        '- "a" => new/c.py:3-2',
        "FILE: a.py",
        "FILE:",
        "**FILE:** `a.py`",
    ),
    *("FILE: docs/b.md", "FILE: new/c.py", "FILE: ../outside/kept.py", "FILE: away/kept.py", "FILE: link.py"),
    *("FILE: /etc/hosts", "FILE: ./a.py", "FILE: .git/config", "file: kept.py", "FILE: a.py (lines 1-9 of 90)"),
    *("<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "```", "````", "~~~", "~~~~", "```py", "``` xml", "~~~ a`b"),
    *("> ", ">", "    ", "\t", "- ", "1. ", "# ", "`", "\r\n", "\r", "\n", "\n", "\n", "\0", "\u2028", "\ufeff", "…"),
    *(CLAIM, CLAIM, WHOLE, WHOLE.replace("a.py", "new/c.py"), PARTS, PARTS.replace("a.py", "link.py"), BLOCKED),
    *("x = 1", "def f(a):", "    return a + x", "line_3 = 3", "# rest unchanged", "# ...", "pass", "ä", "\ud800"),
)
LONGEST = 4096
"""Bytes of a reply that atheris tries."""


class Judged:
    """Counts, and the finds: the first reply that broke each promise in its own way."""

    def __init__(self, folder: Path, seconds: float) -> None:
        from judge_replies import Place, judge

        self.folder = folder / "finds"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.judge, self.place = judge, Place(Path(tempfile.mkdtemp(prefix="fuzz-", dir=_quick_disk())))
        self.seconds, self.executions = seconds, 0
        self.ways: set[str] = set()

    def __call__(self, text: str) -> None:
        self.executions += 1
        try:
            self.judge(text, self.place)
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is a find
            way = _way(problem)
            if way not in self.ways:
                self.ways.add(way)
                name = hashlib.sha256(way.encode()).hexdigest()[:12]
                (self.folder / f"{name}.txt").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
                (self.folder / f"{name}.why").write_text(f"{way}\n")
                print(f"FIND {name}: {way}", flush=True)

    def over(self) -> bool:
        """Whether the processor time is spent."""
        return time.process_time() >= self.seconds

    def report(self) -> dict[str, object]:
        """What was done."""
        return {
            "executions": self.executions,
            "cpu_minutes": round(time.process_time() / 60, 1),
            "finds": sorted(self.ways),
        }


def _way(problem: Exception) -> str:
    frame = traceback.extract_tb(problem.__traceback__)[-1]
    text = str(problem) if isinstance(problem, AssertionError) else type(problem).__name__
    return f"{text.split(':')[0]} at {Path(frame.filename).name}:{frame.name}"


def _quick_disk() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def with_hypothesis(judged: Judged) -> None:
    """Words of the protocol and any text, joined with and without line ends."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    bits = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=60)
    chunk = settings(
        max_examples=5_000, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=HealthCheck
    )

    @chunk
    @given(bits, st.sampled_from(["\n", "\n", ""]))
    def run(words: list[str], between: str) -> None:
        if not judged.over():
            judged(between.join(words))

    while not judged.over():
        run()
        print(json.dumps(judged.report()), flush=True)


def with_atheris(judged: Judged, folder: Path) -> None:
    """Bytes are the reply, as they are: the corpus can be read."""
    import atheris

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    draw = random.Random(1)
    for number in range(0 if any(corpus.iterdir()) else 400):
        words = draw.choices(WORDS, k=draw.randint(1, 30))
        text = draw.choice(["\n", "\n", ""]).join(words)
        (corpus / f"seed-{number}").write_bytes(text.encode("utf-8", "replace"))
    dictionary = folder / "words.dict"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "replace")) for word in WORDS)
    dictionary.write_text("".join(f'"{word}"\n' for word in dict.fromkeys(escaped)))

    def once(data: bytes) -> None:
        judged(data.decode("utf-8", "replace"))
        if judged.executions % 5_000 == 0:
            print(json.dumps(judged.report()), flush=True)
        if judged.over():
            print(json.dumps(judged.report()), flush=True)
            os._exit(0)

    options = [
        f"-max_len={LONGEST}",
        f"-dict={dictionary}",
        "-rss_limit_mb=1500",
        "-timeout=30",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *options], once)
    atheris.Fuzz()


def keep(folder: Path, file: Path, most: int = 60) -> None:
    """The finds, what the file holds already, and the shortest reply of each kind of reading."""
    from judge_replies import read

    known = json.loads(file.read_text("utf-8"))["replies"] if file.exists() else []
    finds = [place.read_bytes().decode("utf-8", "replace") for place in sorted(folder.glob("*/finds/*.txt"))]
    kept = list(dict.fromkeys([*known, *finds]))
    tried = {place.read_bytes().decode("utf-8", "replace") for place in folder.glob("*/corpus/*")}
    kinds = {_kind(read(text)) for text in kept}
    for text in sorted(tried, key=lambda text: (len(text), text)):
        kind = _kind(read(text))
        if kind not in kinds and len(kept) < most:
            kinds.add(kind)
            kept.append(text)
    file.write_text(json.dumps({"replies": kept}, indent=0) + "\n", encoding="utf-8")
    print(f"{len(kept)} replies of {len(kinds)} kinds")


def _kind(parsed: Any) -> tuple[object, ...]:
    """What is alike of two readings: forms, reasons without their names and numbers, the signal."""
    signal = parsed.signal
    forms = tuple(sorted({edit.form for edit in parsed.edits})), min(len(parsed.edits), 2)
    reasons = tuple(sorted({_gist(error) for error in parsed.edit_errors}))
    return (*forms, reasons, signal.claimed_complete, signal.blocked, _gist(signal.malformed or ""))


def _gist(reason: str) -> str:
    return " ".join(word for word in reason.split()[:12] if word.isalpha())


def main() -> None:
    """Run one engine for a while."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=Path, metavar="FILE")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--engine", choices=["atheris", "hypothesis"], default="hypothesis")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.keep is not None:
        keep(given.folder, given.keep)
        return
    if given.engine == "atheris":
        import atheris

        with atheris.instrument_imports(
            include=["handshake.models", "handshake.domain", "handshake.toolbus.workspace"]
        ):
            judged = Judged(given.folder, given.minutes * 60)
        with_atheris(judged, given.folder)
    else:
        judged = Judged(given.folder, given.minutes * 60)
        with_hypothesis(judged)
    print(json.dumps(judged.report(), indent=1))


if __name__ == "__main__":
    main()
