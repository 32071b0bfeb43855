"""The scripted model as a real process, and its rules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from handshake.domain.errors import ConfigError, ModelFailed
from handshake.domain.settings import ModelConfig
from handshake.models.openai import OpenAiProvider
from handshake.models.reply import parse_reply
from handshake.models.scripted.answers import changed_line
from handshake.models.scripted.prompt import read_prompt
from handshake.models.scripted.script import load_script

PROMPT = """FILES
FILE: pkg/a.py
````python
# a comment
def add(a, b):
    return a - b
MT_ID: MT-666
````

FILE: b.md
```
old
```

YOUR TASK
MT_ID: {mt}
MODIFY: pkg/a.py, b.md
CREATE: c.py
DONE:
- "add adds"
- "c.py says "hello""

Write the reply now.
"""

SCRIPT = """
context_window: 4096
rules:
  - when: {mt: MT-002}
    behave: lie
  - when: {mt: MT-003}
    behave: out_of_scope
  - when: {mt: MT-004}
    behave: give_up
  - when: {mt: MT-005}
    behave: partial
  - when: {mt: MT-006, attempt: 1}
    behave: error_500
  - when: {mt: MT-007}
    behave: hang
  - when: {mt: MT-008}
    solve: tree
    behave: partial
  - when: {model: big}
    reply: "I am the big one"
    usage: {prompt_tokens: 100, completion_tokens: 20}
  - when: {contains: [alpha, beta]}
    reply: [first, second]
    usage: none
    delay_ms: 20
  - solve: tree
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "pkg").mkdir(parents=True)
    (tree / "pkg/a.py").write_text("# a comment\n# another\ndef add(a, b):\n    return a + b\n")
    (tree / "b.md").write_text("old\n")
    (tree / "c.py").write_text('"""Three ticks: ```\n```\n"""\nprint("hello")')
    path = tmp_path / "script.yaml"
    path.write_text(SCRIPT)
    return path


class Running:
    def __init__(self, script: Path, *more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "handshake.models.scripted", str(script), *more],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().removeprefix("serving ").strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def start(script: Path):
    running: list[Running] = []

    def begin(*more: str) -> Running:
        running.append(Running(script, *more))
        return running[-1]

    yield begin
    for one in running:
        one.kill()


def opened(running: Running, quick, model: str = "small") -> OpenAiProvider:
    return OpenAiProvider(model, ModelConfig(base_url=running.url, model=model), retry=quick)


def test_the_process_serves_every_behaviour(start, quick, a_request):
    running = start()
    provider = opened(running, quick)
    assert provider.facts.context_window == 4096 and provider.facts.exact_tokens

    def ask(mt: str, **more):
        return provider.complete(a_request(PROMPT.format(mt=mt), **more))

    def read(mt: str):
        text = ask(mt).samples[0].text
        return parse_reply(text, mt_id=mt, writable=("pkg/a.py", "b.md", "c.py"))

    solved = read("MT-001")
    assert solved.edit_errors == ()
    assert [edit.path for edit in solved.edits] == ["pkg/a.py", "c.py"]
    assert solved.edits[1].content == '"""Three ticks: ```\n```\n"""\nprint("hello")\n'
    assert solved.signal.claimed_complete
    assert [(line.criterion, line.evidence_location) for line in solved.signal.evidence] == [
        ("add adds", "pkg/a.py:4-4"),
        ('c.py says "hello"', "c.py:1-1"),
    ]
    lie = read("MT-002")
    assert lie.edits == () and lie.signal.claimed_complete and lie.signal.evidence[0].start == 9990
    assert [edit.path for edit in read("MT-003").edits] == ["../planted_outside.py", "planted_beside.py"]
    assert read("MT-004").signal.blocked
    nothing = read("MT-005")
    assert nothing.edits == () and not nothing.signal.claimed_complete and not nothing.signal.blocked
    part = read("MT-008")
    assert len(part.edits) == 2 and not part.signal.claimed_complete
    assert read("MT-006").signal.claimed_complete, "the second call of MT-006, after one 500"
    reply = provider.complete(a_request("alpha beta", samples=3))
    assert [sample.text for sample in reply.samples] == ["first", "second", "first"]
    assert reply.usage.estimated
    big = opened(running, quick, "big").complete(a_request("x").model_copy(update={"served_as": "big"}))
    assert (big.samples[0].text, big.usage.prompt_tokens, big.usage.completion_tokens) == (
        "I am the big one",
        100,
        20,
    )
    with pytest.raises(ModelFailed) as hung:
        provider.complete(a_request(PROMPT.format(mt="MT-007"), timeout_s=0.3))
    assert hung.value.category == "model_timeout"
    counters = httpx.get(running.url.removesuffix("/v1") + "/handshake/calls").json()
    rows = {(row["model"], row["mt_id"]): (row["received"], row["completed"]) for row in counters["calls"]}
    assert rows[("m", "MT-006")] == (2, 1) and rows[("m", "MT-007")] == (1, 0) and rows[("big", None)] == (1, 1)


def test_unknown_paths_and_bad_bodies_are_answered(start):
    running = start()
    root = running.url.removesuffix("/v1")
    assert httpx.get(root + "/nothing").status_code == 404
    assert httpx.post(root + "/nothing", json={}).status_code == 404
    assert httpx.post(root + "/v1/chat/completions", content=b"{").status_code == 400
    assert httpx.get(root + "/health").json() == {"status": "ok"}
    whole = httpx.post(root + "/v1/chat/completions", json={"messages": [{"role": "user", "content": "alpha beta"}]})
    assert whole.json()["choices"][0]["message"]["content"] == "first"
    assert len(httpx.post(root + "/tokenize", json={"content": "two words"}).json()["tokens"]) == 3


def test_the_count_file_survives_a_kill_and_attempts_go_on(start, tmp_path, quick, a_request):
    count_file = tmp_path / "calls.jsonl"
    first = start("--count-file", str(count_file))
    prompt = PROMPT.format(mt="MT-006")
    assert opened(first, quick).complete(a_request(prompt)).samples, "500 once, then solved"
    first.kill()
    second = start("--count-file", str(count_file))
    opened(second, quick).complete(a_request(prompt))
    second.kill()
    rows = [json.loads(line) for line in count_file.read_text().splitlines()]
    assert [(row["model"], row["mt_id"]) for row in rows] == [("m", "MT-006")] * 2
    assert rows[0]["prompt_sha256"] == a_request(prompt).prompt_hash
    assert [row["attempt"] for row in rows] == [2, 2], "the failed call is not in the file, so it is not counted on"


@pytest.mark.skipif(not hasattr(os, "kill") or sys.platform == "win32", reason="needs POSIX signals")
def test_a_child_dies_with_its_parent_even_by_sigkill(script, tmp_path):
    program = (
        "import sys, time\n"
        "from handshake.domain.settings import ModelConfig\n"
        "from handshake.models.scripted.provider import ScriptedProvider\n"
        f"p = ScriptedProvider('s', ModelConfig(provider='scripted', script={str(script)!r}))\n"
        "print(p.pid, p.address, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid, address = parent.stdout.readline().split()
    assert httpx.get(address + "/health").status_code == 200
    folder = Path(f"/proc/{pid}/cwd")
    folder = folder.resolve() if folder.exists() else None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            httpx.get(address + "/health", timeout=1)
        except httpx.TransportError:
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"child {pid} outlived its parent")
    assert folder is None or not folder.exists(), "nor is its folder left behind"


def test_the_prompt_is_read_outside_its_fences():
    task = read_prompt(PROMPT.format(mt="MT-001"))
    assert task.mt_id == "MT-001", "not the line inside a file's content"
    assert (task.modify, task.create) == (("pkg/a.py", "b.md"), ("c.py",))
    assert task.criteria == ("add adds", 'c.py says "hello"')
    assert task.shown["pkg/a.py"].endswith("return a - b\nMT_ID: MT-666\n")
    assert read_prompt("MODIFY: (none)\nCREATE: (none)\n").writable == ()


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("a\nb\n", "a\nc\n", 2),
        ("a\n", "# note\na\nb\n", 3),
        ("a\n", "a\n", 1),
        ("", "\n# x\ncode\n", 3),
        ("a\nb\n", "b\n", 1),
        ("a\n", "", 1),
    ],
)
def test_evidence_points_at_a_line_that_changed(before, after, line):
    assert changed_line(before, after) == line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rules: []", "rules"),
        ("rules:\n - when: {mt: MT-001}\n   reply: x\n", "last rule must have no"),
        ("rules:\n - reply: x\n   behave: lie\n", "exactly one of"),
        ("rules:\n - behave: dance\n", "rules.0.behave"),
        ("rules:\n - reply: x\n   repply: y\n", "rules.0.repply"),
        ("rules:\n - solve: nowhere\n", "no folder 'nowhere'"),
        ("- a\n", "a mapping"),
        ("rules: [", "not YAML"),
    ],
)
def test_a_wrong_script_is_refused_with_the_place(tmp_path, text, says):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_script(path)
    assert says in refused.value.line() and str(path) in refused.value.line()


def test_a_missing_script_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_script(tmp_path / "none.yaml")
    ended = subprocess.run(
        [sys.executable, "-m", "handshake.models.scripted", str(tmp_path / "none.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2 and "cannot be read" in ended.stderr
