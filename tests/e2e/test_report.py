"""The page of a run: complete, safe whatever a model wrote, and looked at in a real browser."""

from __future__ import annotations

import os
import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browser import Browser, find_chromium
from run_records import WP, small_packet

from handshake.cli.main import run_command
from handshake.cli.verb_status import load_runs
from handshake.config.loading import load_settings
from handshake.domain.clock import SystemClock, SystemIds
from handshake.domain.states import JobStatus
from handshake.loop.run import Run
from handshake.loop.surroundings import Surroundings
from handshake.repo.git import find_repository
from handshake.report.page import render

HOSTILE = """</pre></details><script>document.title = "taken"</script><img src=x onerror="document.title='taken'">
<style>body { display: none }</style><link rel=stylesheet href="http://127.0.0.1:9/x.css"> \x1b[31mred \u202egnirts
{{ 7 * 7 }} {% raw %} ]]> <!-- & &amp; `code` "quoted" 'single'
<mt_blocked>
REASON: <b>no</b> {{ 7 * 7 }}
NEED: <script>alert(1)</script>
</mt_blocked>
"""
SIZES = {"phone": (390, 844), "desk": (1200, 900)}
# where a person wants the pictures; else they go with the test's folder
KEEP = os.environ.get("KEEP_PICTURES")


@pytest.fixture(scope="module")
def shop(make_shop: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A run with a hostile reply, a false claim, an escalation, a gate, a human's answer, and an end."""
    made = make_shop(tmp_path_factory.mktemp("report") / "shop")
    rules = [
        {"when": {"model": "m0", "mt": "MT-001", "attempt": 1}, "reply": HOSTILE},
        {"when": {"model": "m0", "contains": "MODIFY: shop/stock.py"}, "behave": "lie"},
        {"when": {"model": "m1", "contains": "MODIFY: shop/stock.py", "attempt": 1}, "behave": "lie"},
    ]
    made.serve(*rules)
    made.configure(levels=2, policy={"max_iterations_per_mt": 1})
    made.drop(small_packet)
    made.handshake("run", WP, code=None)
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def unfinished(shop: Any) -> str:
    """The page while the run waits for a human."""
    made = shop.handshake("report", WP, "-o", str(shop.root.parent / "waits.html"))
    assert f"{WP} is awaiting user; the page shows it as of its last commit" in made.stderr
    return (shop.root.parent / "waits.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(shop: Any, unfinished: str) -> Run:
    """The run at its end."""
    for _ in range(3):
        shop.handshake("decide", WP, "continue", "--note", "<i>look</i> at line 3", code=None)
        shop.handshake("run", WP, code=None)
    settings = load_settings(shop.root, env={}, require_trust=False).settings
    around = Surroundings(find_repository(shop.root), settings, SystemClock(), SystemIds())
    return load_runs(around, WP)[0]


@pytest.fixture(scope="module")
def long_run(run: Run) -> Run:
    """The same run as if its tasks had taken 300 iterations."""
    made = Run(
        run.around, run.branch, job=run.job, plan=run.plan, progress=run.progress, ledger=run.ledger,
        packet=run.packet, tip=run.tip,
    )  # fmt: skip
    tried = [entry for entry in run.progress.micro_tasks if entry.iterations]
    for number, entry in enumerate(tried):
        rows = []
        for n in range(150):
            row = entry.iterations[n % len(entry.iterations)]
            later = timedelta(seconds=40 * (150 * number + n))
            times = {"started_at": run.job.created_at + later, "duration_ms": 20_000 + 97 * n}
            times["completed_at"] = times["started_at"] + timedelta(milliseconds=times["duration_ms"])
            step = f"{entry.mt_id}_iter-{n + 1:03d}"
            for name in ("prompt.md", "reply.md", "validation.json", "changes.patch"):
                data = run.artifact(run.paths.step(row.step_id, name))
                if data is not None:
                    made._pending[run.paths.step(step, name)] = data
            rows.append(row.model_copy(update={"step_id": step, **times}))
        made.update_entry(entry.mt_id, iterations=tuple(rows))
    return made


def test_a_run_that_waits_says_so(unfinished: str) -> None:
    assert f"This run waits for a human: <code>handshake decide {WP}</code>." in unfinished
    assert "This run still goes on" not in unfinished
    assert "awaiting user" in unfinished


def test_a_run_at_work_says_so(run: Run) -> None:
    """The same run as if it were seen before its end."""
    working = run.job.model_copy(update={"status": JobStatus.RUNNING})
    seen = Run(run.around, run.branch, job=working, plan=run.plan, progress=run.progress, ledger=run.ledger,
               packet=run.packet, tip=run.tip)  # fmt: skip
    assert "This run still goes on." in render(seen)


def test_it_tells_the_whole_run(run: Run) -> None:
    page = render(run)
    assert 'class="banner"' not in page
    told = ("In scope", "not true", "Escalated to level 1", "Hard gate:", "post-work")
    for text in (*told, "decided: continue", "What it teaches", 'class="p-', "VAT_PERCENT", "python -m unittest"):
        assert text in page, text
    for entry in run.progress.micro_tasks:
        assert f'id="{entry.mt_id}"' in page
        assert all(f'id="{row.step_id}"' in page for row in entry.iterations)


def test_what_a_model_wrote_is_text(run: Run) -> None:
    page = render(run)
    assert "<script" not in page
    assert "onerror=" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)
    assert page.count("<style>") == 1
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\u241b[31m" in page
    assert "{{ 7 * 7 }}" in page
    assert all(target.startswith("#") for target in re.findall(r"href=\"([^\"]*)\"", page))
    assert " src=" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)


def test_the_file_is_the_users(
    shop: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(*args: str) -> int:
        return run_command(["-C", str(shop.root), "report", *args])

    monkeypatch.chdir(tmp_path)
    mine = tmp_path / f"{WP}.html"
    mine.write_text("mine")
    assert report(WP) == 2
    assert "is no report" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert report(WP, "-o", str(mine)) == 0
    assert report(WP) == 0  # a report may be made again
    assert mine.read_text().startswith("<!doctype html>")
    assert report(WP, "-o", str(tmp_path)) == 2
    assert report("WP-9") == 2
    assert "has no run yet" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    assert shop.handshake("report", WP, "-o", "-").stdout.startswith("<!doctype html>")


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None or sys.platform == "win32":
        pytest.skip("there is no Chromium on this machine")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def look(browser: Browser, page: str, folder: Path, name: str) -> SimpleNamespace:
    """Open a page and take its pictures: phone and desk, light and dark."""
    file = folder / f"{name}.html"
    file.write_text(page, encoding="utf-8")
    browser.requests.clear()
    browser.complaints.clear()
    browser.see(width=1200, height=900)
    browser.open(file.as_uri())
    pictures = {}
    for size, (width, height) in SIZES.items():
        for dark in (False, True):
            browser.see(width=width, height=height, dark=dark)
            wide = browser.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} on a {size} is {wide} wide"
            scheme = "dark" if dark else "light"
            place = Path(KEEP or folder) / f"{name}-{size}-{scheme}.png"
            browser.screenshot(place)
            assert struct.unpack(">II", place.read_bytes()[16:24]) == (width, height)
            pictures[size, dark] = pixels(browser.thumbnail(width, height))
    return SimpleNamespace(file=file, pictures=pictures)


def pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and the rows of a picture with 8 bits a channel."""
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert depth == 8
    channels = {2: 3, 6: 4}[colour]
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    raw, stride = zlib.decompress(data), width * channels
    rows: list[bytes] = []
    before = bytes(stride)
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for x in range(stride):
            a, b = line[x - channels] if x >= channels else 0, before[x]
            c = before[x - channels] if x >= channels else 0
            line[x] = (line[x] + (0, a, b, (a + b) // 2, _paeth(a, b, c))[kind]) & 255
        before = bytes(line)
        rows.append(b"".join(before[x : x + 3] for x in range(0, stride, channels)))
    return width, height, rows


def _paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def colours(picture: tuple[int, int, list[bytes]]) -> set[bytes]:
    return {row[x : x + 3] for row in picture[2] for x in range(0, len(row), 3)}


def test_looked_at_small(browser: Browser, run: Run, tmp_path: Path) -> None:
    seen = look(browser, render(run), tmp_path, "small")
    assert browser.requests == [seen.file.as_uri()]
    assert browser.complaints == []
    assert browser.evaluate("document.title") == f"{WP} \u00b7 {run.job.status.value.replace('_', ' ')}"
    assert browser.evaluate("document.querySelectorAll('script, img, link, iframe, object').length") == 0
    for (_, dark), picture in seen.pictures.items():
        assert len(colours(picture)) > 20  # text, chips and bars, not an empty page
        paper = picture[2][2][:3]
        assert (max(paper) < 60) if dark else (min(paper) > 230)
    # a bar of the timeline leads to its step, which opens
    step = next(e for e in run.progress.micro_tasks if e.iterations).iterations[0].step_id
    browser.evaluate(f"location.hash = '{step}'")
    assert browser.evaluate(f"document.getElementById('{step}').getBoundingClientRect().height") > 40
    assert browser.evaluate("document.querySelectorAll('rect.bar').length") == sum(
        len(e.iterations) for e in run.progress.micro_tasks
    )


def test_what_a_model_wrote_does_nothing_in_a_browser_either(browser: Browser, run: Run, tmp_path: Path) -> None:
    """Were the escaping to fail once, the page's own policy would still hold."""
    page = render(run).replace(
        "</main>", "<script>document.title='taken'</script><img src='http://127.0.0.1:9/x'></main>"
    )
    file = tmp_path / "broken.html"
    file.write_text(page, encoding="utf-8")
    browser.requests.clear()
    browser.see(width=1200, height=900)
    browser.open(file.as_uri())
    assert browser.evaluate("document.title") != "taken"
    assert any("Content Security Policy" in said for said in browser.complaints)
    assert all("127.0.0.1" not in said or "violates" in said for said in browser.complaints)


def test_looked_at_with_three_hundred_iterations(browser: Browser, long_run: Run, tmp_path: Path) -> None:
    seen = look(browser, render(long_run), tmp_path, "long")
    assert browser.complaints == []
    assert browser.evaluate("document.querySelectorAll('details.step').length") == 300
    assert browser.evaluate("document.querySelectorAll('details.step[open]').length") == 0
    # every bar can be seen, and none leaves its lane
    wide = "Math.min(...[...document.querySelectorAll('rect.bar')].map(r => r.getBoundingClientRect().width))"
    assert browser.evaluate(wide) > 0.4
    right = (
        "[...document.querySelectorAll('rect.bar')].every(r => r.x.baseVal.value + r.width.baseVal.value <= 1000.01)"
    )
    assert browser.evaluate(right)
    browser.see(width=1200, height=900, media="print")
    assert browser.pdf_pages() > 5
    assert seen.file.stat().st_size < 20_000_000
