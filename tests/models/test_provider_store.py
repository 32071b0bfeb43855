"""Replies by content key, replay, profiles and the grammar of a reply's frame."""

from __future__ import annotations

import re

import pytest

from handshake.config.failpoints import VARIABLE, FailpointReached
from handshake.domain.errors import ConfigError, ModelFailed, StateCorruption
from handshake.domain.microtask import DoneCriterion, FileAccess, MicroTaskDefinition, VerificationSpec
from handshake.domain.modelcall import ModelReply, Sample, TokenUsage
from handshake.domain.settings import ModelConfig
from handshake.models.grammar import _numbers_up_to, completion_grammar
from handshake.models.profiles import PROFILES, profile_named, sampling_for
from handshake.models.replay import ReplayProvider
from handshake.models.replies import ReplyStore


def a_reply(key: str, text: str = "hello") -> ModelReply:
    usage = TokenUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    cut = Sample(text="half", finish_reason="cut", cut_reason="stall")
    return ModelReply(content_key=key, model_id="m", samples=(Sample(text=text), cut), usage=usage, latency_ms=4)


def test_a_reply_comes_back_letter_for_letter(tmp_path, a_request):
    store = ReplyStore(tmp_path / "replies")
    key = a_request().content_key
    assert store.get(key) is None
    reply = a_reply(key, "e\u0301 is not \u00e9\r\n\ttab")
    store.put(reply)
    store.put(reply)
    assert store.get(key) == reply
    (kept,) = store.directory.iterdir()
    assert kept.name == f"{key}.json"
    assert kept.stat().st_mode & 0o077 == 0  # it may hold a secret


def test_a_stored_reply_that_is_not_its_name_is_corruption(tmp_path, a_request):
    store = ReplyStore(tmp_path)
    key, other = a_request("one").content_key, a_request("two").content_key
    store.put(a_reply(key))
    (tmp_path / f"{key}.json").rename(tmp_path / f"{other}.json")
    with pytest.raises(StateCorruption, match="not the stored reply of its name"):
        store.get(other)
    (tmp_path / f"{key}.json").write_text("{")
    with pytest.raises(StateCorruption):
        store.get(key)
    with pytest.raises(StateCorruption, match="is not a content key"):
        store.get("../../etc/passwd")


@pytest.mark.parametrize(("place", "stored"), [("before", False), ("after", True)])
def test_the_failpoints_stand_on_both_sides(tmp_path, a_request, monkeypatch, place, stored):
    store = ReplyStore(tmp_path)
    key = a_request().content_key
    monkeypatch.setenv(VARIABLE, f"reply.store:{place}:raise")
    with pytest.raises(FailpointReached):
        store.put(a_reply(key))
    assert (store.get(key) is not None) is stored


def test_a_recorded_run_replays_without_a_model(tmp_path, a_request):
    store = ReplyStore(tmp_path)
    request = a_request()
    store.put(a_reply(request.content_key))
    provider = ReplayProvider("m", ModelConfig(provider="replay"), store)
    heard = []
    assert provider.complete(request, heard.append).samples[0].text == "hello"
    assert heard == ["hello"] and provider.count_tokens("two words") >= 2
    with pytest.raises(ModelFailed, match="no reply is recorded"):
        provider.complete(a_request("another prompt"))
    provider.close()


def test_a_key_depends_on_what_the_contract_names(a_request):
    base = a_request()
    others = [
        a_request("another prompt"),
        a_request(attempt=2),
        a_request(temperature=0.9),
        base.model_copy(update={"lora_id": "l"}),
        base.model_copy(update={"model_id": "other"}),
    ]
    keys = {request.content_key for request in (base, *others)}
    assert len(keys) == 6
    assert base.model_copy(update={"timeout_s": 99, "served_as": "x"}).content_key == base.content_key


def test_profiles_are_data_and_entries_override_them():
    assert list(PROFILES) == ["tiny", "small", "standard"]
    assert (PROFILES["tiny"].samples, PROFILES["tiny"].files_per_mt, PROFILES["tiny"].edit_forms) == (
        4,
        1,
        ("whole",),
    )
    plain = sampling_for(ModelConfig(profile="tiny"), grammar="g", seed=3)
    assert (plain.samples, plain.grammar, plain.seed) == (4, "g", 3)
    own = ModelConfig(profile="tiny", samples=2, temperature=0.0, max_output_tokens=77, grammar=False, seed=1)
    drawn = sampling_for(own, grammar="g", seed=3)
    assert (drawn.samples, drawn.temperature, drawn.max_output_tokens, drawn.grammar, drawn.seed) == (
        2,
        0,
        77,
        None,
        1,
    )
    with pytest.raises(ConfigError, match="profile 'huge'"):
        profile_named("huge")


def a_task(*modify: str, create: tuple[str, ...] = ()) -> MicroTaskDefinition:
    return MicroTaskDefinition(
        mt_id="MT-001",
        name="n",
        scope="s",
        files=FileAccess(modify=modify, create=create),
        actions=("a",),
        verify=(VerificationSpec(command="pytest"),),
        done=(
            DoneCriterion(description='says "hi" with a \\', verification="evidence_required"),
            DoneCriterion(description="tests pass", verification="evidence_required"),
        ),
        token_budget=1024,
    )


def test_the_grammar_gives_the_frame_and_leaves_the_lines_free():
    text = completion_grammar(a_task("a.py"), "python")
    rules = dict(line.split(" ::= ", 1) for line in text.splitlines())
    used = set(
        re.findall(r"\b[a-z]+\b(?=[ )+*?]|$)", re.sub(r'"(\\.|[^"\\])*"|\[[^\]]*\]', "", " ".join(rules.values())))
    )
    assert used <= set(rules)
    assert rules["file"] == 'block "\\n"'
    assert rules["root"] == "file complete | blocked"
    assert '"- \\"says \\"hi\\" with a \\\\\\" -> " path ":" lines "\\n"' in rules["complete"]
    assert rules["path"] == '"a.py"'
    assert rules["block"].startswith('"```python\\n"')


def test_several_files_are_named_in_the_grammar():
    text = completion_grammar(a_task("a.py", create=("b.xyz",)), "klingon")
    assert "root ::= file{1,2} complete | blocked" in text
    assert 'file ::= "FILE: " path "\\n" block "\\n"' in text
    assert 'path ::= "a.py" | "b.xyz"' in text
    assert 'block ::= "```\\n"' in text


@pytest.mark.parametrize("most", [1, 9, 10, 27, 100, 305, 9999])
def test_line_numbers_are_bounded(most):
    pattern = re.compile("|".join(f"({part.replace(' ', '').replace(chr(34), '')})" for part in _numbers_up_to(most)))
    admitted = {number for number in range(12000) if pattern.fullmatch(str(number))}
    assert admitted == set(range(1, most + 1))
