"""A program as a provider, as a real process."""

from __future__ import annotations

import sys
import time

import pytest

from handshake.domain.clock import SystemClock
from handshake.domain.errors import EnvironmentProblem, ModelFailed
from handshake.domain.settings import ModelConfig
from handshake.models.children import clean_environment, start_serving
from handshake.models.command import CommandProvider


def provider(code: str, **more) -> CommandProvider:
    return CommandProvider("prog", ModelConfig(provider="command", command=(sys.executable, "-c", code), **more))


def test_prompt_in_reply_out(a_request):
    echo = provider("import sys; sys.stdout.write(sys.stdin.read().upper())", context_window=1000)
    heard = []
    reply = echo.complete(a_request("straße", samples=2), heard.append)
    assert [sample.text for sample in reply.samples] == ["STRASSE", "STRASSE"]
    assert heard == ["STRASSE"] and reply.usage.estimated
    assert echo.facts.context_window == 1000
    echo.close()


def test_it_sees_no_secrets_but_the_one_named(a_request, monkeypatch):
    monkeypatch.setenv("OTHER_TOKEN", "o-secret")
    monkeypatch.setenv("PROG_KEY", "p-secret")
    show = "import os; print(sorted(n for n in os.environ if n.endswith(('TOKEN', 'KEY'))), os.listdir())"
    assert provider(show).complete(a_request()).samples[0].text == "[] []\n"
    assert provider(show, api_key_env="PROG_KEY").complete(a_request()).samples[0].text == "['PROG_KEY'] []\n"
    assert "OTHER_TOKEN" not in clean_environment()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('no quota')", "exit code 1: no quota"),
        ("", "said nothing"),
        ("print('x' * 20_000_000, end='')\nimport time; time.sleep(20)", "more than 16 MiB"),
    ],
)
def test_failures_are_named(a_request, code, says):
    with pytest.raises(ModelFailed, match=says) as failed:
        provider(code).complete(a_request(timeout_s=10))
    assert failed.value.category == "model_error" and not failed.value.transient


def test_a_program_that_hangs_is_killed_with_its_children(a_request, tmp_path):
    mark = tmp_path / "alive"
    grandchild = f"import time; time.sleep(1.5); open({str(mark)!r}, 'w')"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {grandchild!r}]); time.sleep(30)"
    with pytest.raises(ModelFailed) as failed:
        provider(code).complete(a_request(timeout_s=0.5))
    assert failed.value.category == "model_timeout"
    time.sleep(1.6)
    assert not mark.exists()


def test_a_child_that_ends_while_starting_is_explained():
    with pytest.raises(EnvironmentProblem, match="the toy ended while starting") as failed:
        start_serving("handshake.no_such_module", {}, what="the toy", clock=SystemClock(), mend="mend the toy")
    assert failed.value.next_step == "mend the toy"
    assert "no_such_module" in failed.value.what


class LeapingClock(SystemClock):
    """A second goes by at each reading."""

    def __init__(self) -> None:
        self.reading = 0.0

    def monotonic(self) -> float:
        self.reading += 1
        return self.reading


def test_a_child_that_does_not_serve_in_time_is_given_up(tmp_path):
    script = tmp_path / "s.yaml"
    script.write_text("rules:\n - reply: x\n")
    told = []
    with pytest.raises(EnvironmentProblem, match="the toy does not serve after 1 s"):
        start_serving(
            "handshake.models.scripted",
            {"script": str(script)},
            what="the toy",
            clock=LeapingClock(),
            mend="-",
            within_s=1,
            progress=told.append,
        )
    assert told == ["the toy: loading, 1 s"]
