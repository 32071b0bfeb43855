"""The configuration: merged in order, checked with file, line and key, trusted before it starts programs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from handshake.config.loading import load_settings, read_repository_file
from handshake.config.places import trust_file
from handshake.config.shipped import shipped
from handshake.config.trust import is_trusted, revoke, trust, trust_hash, trusted_repositories
from handshake.domain.errors import ConfigError, NotTrusted
from handshake.domain.settings import Settings


class Home:
    """A repository's folder and a user's."""

    def __init__(self, root: Path) -> None:
        self.repo = root / "repo"
        self.repo.mkdir()
        self.env = {"XDG_CONFIG_HOME": str(root / "config"), "XDG_STATE_HOME": str(root / "state")}
        self.user_file = root / "config" / "handshake" / "config.yaml"

    def repository(self, text: str) -> None:
        (self.repo / ".handshake").mkdir(exist_ok=True)
        (self.repo / ".handshake" / "config.yaml").write_text(text, encoding="utf-8")

    def user(self, text: str) -> None:
        self.user_file.parent.mkdir(parents=True, exist_ok=True)
        self.user_file.write_text(text, encoding="utf-8")

    def load(self, overrides: dict[str, Any] | None = None, require_trust: bool = True, **variables: str) -> Any:
        return load_settings(
            self.repo, env={**self.env, **variables}, overrides=overrides, require_trust=require_trust
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_nothing_at_all_gives_the_defaults(home: Home) -> None:
    assert home.load().settings == Settings()


def test_later_layers_win_and_say_so(home: Home) -> None:
    home.repository("base_branch: one\ndaemon:\n  max_parallel: 2\nidentity: {name: A, email: a@b}\n")
    home.user("base_branch: two\nidentity: {name: B}\n")
    loaded = home.load({"tracking": {"push": True}}, HANDSHAKE_DAEMON__MAX_PARALLEL="3")
    assert loaded.settings.base_branch == "two"
    assert loaded.settings.daemon.max_parallel == 3
    assert (loaded.settings.identity.name, loaded.settings.identity.email) == ("B", "a@b")
    assert loaded.settings.tracking.push is True
    assert loaded.origins["base_branch"] == f"{home.user_file}:1"
    assert loaded.origins["daemon.max_parallel"] == "HANDSHAKE_DAEMON__MAX_PARALLEL"
    assert loaded.origins["identity.email"] == ".handshake/config.yaml:4"
    assert loaded.origins["tracking.push"] == "flag tracking.push"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nbase_brunch: x\n", r"\.handshake/config\.yaml:2: key base_brunch: unknown key"),
        ("paths:\n  packets: 7\n", r"config\.yaml:2: key paths\.packets: .*string"),
        ("policy:\n  escalation_chain:\n    - {level: 0, model_id: x}\n    - {level: one, model_id: y}\n",
         r"config\.yaml:4: key policy\.escalation_chain\.1\.level"),
        ("policy:\n  max_iterations_per_mt: 21\n", r"config\.yaml:2: key policy\.max_iterations_per_mt"),
        ("daemon:\n- 1\n", r"config\.yaml:1: key daemon"),
        ("a: &x 1\nb: *x\n", r"config\.yaml:1: an alias"),
        ("base_branch: x\nbase_branch: y\n", r"config\.yaml:2: key base_branch stands twice"),
        ("base_branch: [\n", r"config\.yaml:\d+: not YAML"),
        ("base_branch: !!python/name:os.system x\n", r"config\.yaml:1: not YAML"),
        ("- a\n", r"config\.yaml: a mapping"),
        ("version: 2\n", r"config\.yaml:1: key version"),
        *(
            (f"paths:\n  board: '{path}'\n", r"config\.yaml:1: key paths: board: .* does not lie in the repository")
            for path in ("", ".", "/docs/board.md", "../board.md", "docs/../../x", "~/x", "C:\\docs", "\\\\host\\x")
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_line_and_key(home: Home, text: str, said: str) -> None:
    home.repository(text)
    with pytest.raises(ConfigError, match=said) as caught:
        home.load()
    assert caught.value.next_step


@pytest.mark.parametrize("path", ["work/packets/", "./work/packets", "work//packets", "work\\packets"])
def test_a_folder_is_named_as_git_names_it(home: Home, path: str) -> None:
    home.repository(f"paths: {{packets: '{path}'}}\n")
    assert home.load().settings.paths.packets == "work/packets"


def test_wrong_types_are_named_before_trust_is_asked_for(home: Home) -> None:
    home.repository("sandbox: off\nnope: 1\n")
    with pytest.raises(ConfigError, match="nope"):
        home.load()


def test_words_stay_words(home: Home) -> None:
    home.user("sandbox: off\nloras: [{id: x, base_model: y, served_as: z, last_trained_at: 2026-01-02}]\n")
    settings = home.load().settings
    assert settings.sandbox == "off"
    assert settings.loras[0].last_trained_at == "2026-01-02"


def test_variables_that_look_like_numbers_may_be_text(home: Home) -> None:
    assert home.load(HANDSHAKE_BASE_BRANCH="2026").settings.base_branch == "2026"
    assert home.load(HANDSHAKE_SANDBOX="off").settings.sandbox == "off"
    assert home.load(HANDSHAKE_COMMANDS__ALLOW="[pytest, make]").settings.commands.allow == ("pytest", "make")
    assert home.load(HANDSHAKE_FAILPOINT="x", HANDSHAKE_DEBUG="1").settings == Settings()
    with pytest.raises(ConfigError, match="HANDSHAKE_BASE_BRUNCH: key base_brunch: unknown key"):
        home.load(HANDSHAKE_BASE_BRUNCH="x")
    with pytest.raises(ConfigError, match="HANDSHAKE_DAEMON__MAX_PARALLEL"):
        home.load(HANDSHAKE_DAEMON__MAX_PARALLEL="many")


PROGRAMS = [
    "sandbox: off\n",
    "commands: {allow: [pytest, cargo]}\n",
    "models: {m: {provider: command, command: [x]}}\n",
]


@pytest.mark.parametrize("text", PROGRAMS)
def test_what_starts_programs_is_refused_until_trusted(home: Home, text: str) -> None:
    home.repository(text)
    raw = read_repository_file(home.repo)
    with pytest.raises(NotTrusted, match=r"sandbox|commands\.allow|models\.m\.command") as caught:
        home.load()
    assert "handshake trust" in caught.value.next_step
    left_out = home.load(require_trust=False)
    assert left_out.settings == Settings()
    assert left_out.untrusted
    trust(home.repo, raw, home.env)
    assert home.load().settings != Settings()
    assert json.loads(trust_file(home.env).read_text()) == {str(home.repo.resolve()): trust_hash(raw)}


def test_trust_is_lost_when_the_part_changes_and_only_then(home: Home) -> None:
    home.repository(PROGRAMS[1])
    trust(home.repo, read_repository_file(home.repo), home.env)
    home.repository(PROGRAMS[1] + "base_branch: other\n")
    assert home.load().settings.base_branch == "other"
    home.repository("commands: {allow: [pytest, cargo, rm]}\n")
    with pytest.raises(NotTrusted):
        home.load()


def test_a_variable_may_carry_the_trust(home: Home) -> None:
    home.repository(PROGRAMS[0])
    raw = read_repository_file(home.repo)
    assert home.load(HANDSHAKE_TRUST=trust_hash(raw)).settings.sandbox == "off"
    assert not is_trusted(home.repo, raw, {**home.env, "HANDSHAKE_TRUST": "0" * 64})


def test_a_variable_for_other_content_is_named(home: Home) -> None:
    home.repository(PROGRAMS[0])
    with pytest.raises(NotTrusted, match="HANDSHAKE_TRUST is not the hash") as caught:
        home.load(HANDSHAKE_TRUST="0" * 64)
    assert trust_hash(read_repository_file(home.repo)) in caught.value.next_step


def test_an_engine_registry_needs_trust_as_a_whole(home: Home) -> None:
    file = home.repo / ".handshake" / "mechanical_engines.json"
    file.parent.mkdir()
    file.write_text('{"engines": []}')
    with pytest.raises(NotTrusted, match=r"mechanical_engines\.json"):
        home.load()
    assert home.load(require_trust=False).untrusted == (".handshake/mechanical_engines.json",)
    trust(home.repo, {}, home.env)
    home.load()
    file.write_text('{"engines": [ ]}')
    with pytest.raises(NotTrusted, match="any more: it changed"):
        home.load()


@pytest.mark.parametrize(
    ("url", "asks"),
    [
        ("https://elsewhere.example/v1", True),
        ("http://127.0.0.1.elsewhere.example/v1", True),
        ("http://127.0.0.1:11434/v1", False),
        ("http://localhost/v1", False),
    ],
)
def test_a_secret_for_another_machine_needs_trust(home: Home, url: str, asks: bool) -> None:
    home.repository(f"models: {{m: {{base_url: '{url}', api_key_env: GITHUB_TOKEN}}}}\n")
    assert ("models.m.api_key_env" in home.load(require_trust=False).untrusted) is asks


def test_trust_is_taken_back(home: Home) -> None:
    home.repository(PROGRAMS[0])
    digest = trust(home.repo, read_repository_file(home.repo), home.env)
    assert trusted_repositories(home.env) == {str(home.repo.resolve()): digest}
    assert revoke(home.repo, home.env)
    assert not revoke(home.repo, home.env)
    assert trusted_repositories(home.env) == {}
    with pytest.raises(NotTrusted):
        home.load()


def test_two_that_trust_at_once_lose_nothing(home: Home, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: trust(tmp_path / str(number), {"sandbox": "off"}, home.env), range(24)))
    assert len(trusted_repositories(home.env)) == 24


def test_an_allow_list_that_only_narrows_needs_no_trust(home: Home) -> None:
    home.repository("commands: {allow: [pytest]}\n")
    assert home.load().settings.commands.allow == ("pytest",)


def test_trust_of_another_repository_counts_for_nothing(home: Home, tmp_path: Path) -> None:
    home.repository(PROGRAMS[0])
    raw = read_repository_file(home.repo)
    trust(tmp_path / "elsewhere", raw, home.env)
    assert not is_trusted(home.repo, raw, home.env)


def test_a_broken_record_of_trust_is_an_error(home: Home) -> None:
    home.repository(PROGRAMS[0])
    file = trust_file(home.env)
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"trust\.json"):
        home.load()


def test_the_example_shows_every_key_with_its_default(home: Home) -> None:
    text = shipped(".handshake.example", "config.yaml").read_text(encoding="utf-8")
    home.repository(text)
    assert home.load().settings == Settings()
    shown = yaml.safe_load(text)

    def compare(model: Any, value: dict[str, Any]) -> None:
        known = fields(model) if is_dataclass(model) else None
        assert set(value) == ({field.name for field in known} if known else set(type(model).model_fields))
        for name, part in value.items():
            if isinstance(part, dict) and part:
                compare(getattr(model, name), part)

    compare(Settings(), shown)
    from handshake.domain.settings import LoraConfig, ModelConfig

    for record in (ModelConfig, LoraConfig):
        assert all(f"{name}:" in text for name in record.model_fields)
