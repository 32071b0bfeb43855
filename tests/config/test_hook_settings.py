"""What a hook knows of the configuration is what `load_settings` says, kept only while nothing of it changed."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest

from handshake.config import loading
from handshake.config.hook_settings import hook_settings
from handshake.config.loading import load_settings, read_repository_file
from handshake.config.places import cache_folder
from handshake.config.trust import trust
from handshake.domain.errors import ConfigError, EnvironmentProblem
from handshake.domain.gate_settings import GateSettings, HookSettings
from handshake.domain.settings import Settings


class Place:
    """A checkout and a user's folders beside it."""

    def __init__(self, root: Path) -> None:
        self.repo = root / "repo"
        (self.repo / ".handshake").mkdir(parents=True)
        self.file = self.repo / ".handshake" / "config.yaml"
        self.user_file = root / "config" / "handshake" / "config.yaml"
        self.env = {f"XDG_{name.upper()}_HOME": str(root / name) for name in ("config", "state", "cache")}

    def ask(self, **variables: str) -> GateSettings:
        return hook_settings(self.repo, {**self.env, **variables})

    def kept(self) -> list[Path]:
        return sorted(cache_folder(self.env).rglob("*"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The checkouts whose configuration was read whole."""
    found: list[Path] = []

    def load(root: Path, **more: object) -> object:
        found.append(root)
        return load_settings(root, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load_settings", load)
    return found


def same(one: GateSettings, other: GateSettings) -> bool:
    return all(getattr(one, field.name) == getattr(other, field.name) for field in fields(HookSettings))


def test_without_a_configuration_the_defaults_stand_and_nothing_is_written(place: Place, loads: list[Path]) -> None:
    found = place.ask(HANDSHAKE_SKIP="1", HANDSHAKE_DEBUG="1")
    assert same(found, Settings())
    assert (loads, place.kept()) == ([], [])


def test_a_checked_configuration_is_checked_once(place: Place, loads: list[Path]) -> None:
    place.file.write_text("base_branch: trunk\npaths: {packets: work}\ngovernance: {mode: strict, ascii: warn}\n")
    asked = {"HANDSHAKE_TRACKING__NAMESPACE": "refs/notes/x"}
    whole = load_settings(place.repo, env={**place.env, **asked}).settings
    first, second = place.ask(**asked), place.ask(**asked)
    assert isinstance(second, HookSettings)
    assert same(first, whole)
    assert same(second, whole)
    assert len(loads) == 1


def _edit_user(place: Place) -> dict[str, str]:
    place.user_file.parent.mkdir(parents=True)
    place.user_file.write_text("governance: {mode: strict}\n")
    return {}


def _edit_file(place: Place) -> dict[str, str]:
    place.file.write_text("base_branch: other\n")
    return {}


def _set_variable(place: Place) -> dict[str, str]:
    return {"HANDSHAKE_BASE_BRANCH": "other"}


def _trust(place: Place) -> dict[str, str]:
    trust(place.repo, read_repository_file(place.repo), place.env)
    return {}


def _registry(place: Place) -> dict[str, str]:
    (place.repo / ".handshake" / "mechanical_engines.json").write_text("{}")
    return {}


@pytest.mark.parametrize("change", [_edit_user, _edit_file, _set_variable, _trust, _registry])
def test_whatever_decides_about_it_makes_it_read_anew(place: Place, loads: list[Path], change: object) -> None:
    place.file.write_text("base_branch: trunk\nsandbox: off\n")
    place.ask()
    variables = change(place)  # type: ignore[operator]
    assert same(place.ask(**variables), load_settings(place.repo, env={**place.env, **variables},
                                                      require_trust=False).settings)  # fmt: skip
    assert len(loads) == 2


def test_edited_rules_make_it_read_anew(place: Place, loads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    place.file.write_text("base_branch: trunk\n")
    place.ask()
    monkeypatch.setattr("handshake.config.hook_settings.__version__", "0.1.1")
    place.ask()
    assert len(loads) == 2


BROKEN = ["base_brunch: x\n", "paths: {packets: 7}\n", "governance: [\n", "models: {m: {samples: 9}}\n"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_configuration_is_refused_as_ever(place: Place, text: str) -> None:
    place.file.write_text("base_branch: trunk\n")
    place.ask()
    place.file.write_text(text)
    with pytest.raises(ConfigError) as whole:
        load_settings(place.repo, env=place.env)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            place.ask()
        assert caught.value.line() == whole.value.line()


def test_a_key_that_is_wrong_once_trusted_is_found_then(place: Place) -> None:
    place.file.write_text("models: {m: {provider: command, command: 7}}\n")
    assert same(place.ask(), Settings())
    trust(place.repo, read_repository_file(place.repo), place.env)
    with pytest.raises(ConfigError, match=r"models\.m\.command"):
        place.ask()


def test_an_unreadable_file_is_refused(place: Place) -> None:
    place.file.mkdir()
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        place.ask()


@pytest.mark.skipif(os.name == "nt", reason="links to devices and pipes")
@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "large"])
def test_a_file_without_end_is_refused_and_not_read(place: Place, target: str) -> None:
    os.mkfifo(place.repo / "pipe")
    with (place.repo / "large").open("wb") as large:
        large.truncate(1 << 33)
    place.file.symlink_to(place.repo / target)
    with pytest.raises(ConfigError, match=r"config\.yaml: (it is not a regular file|File too large)"):
        place.ask()


@pytest.mark.skipif(os.name == "nt", reason="owners and modes")
@pytest.mark.parametrize("how", ["written by others", "of another", "a pipe"])
def test_what_others_may_have_kept_is_read_anew(
    place: Place, loads: list[Path], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.file.write_text("governance: {mode: strict}\n")
    place.ask()
    [file] = [path for path in place.kept() if path.is_file()]
    file.write_text(file.read_text().replace('"strict"', '"standard"'))
    if how == "written by others":
        file.chmod(0o666)
    elif how == "of another":
        monkeypatch.setattr("os.geteuid", lambda: file.stat().st_uid + 1)
    else:
        file.unlink()
        os.mkfifo(file, 0o600)
    found = place.ask()
    assert found.governance.mode == "strict"
    assert len(loads) == 2


def test_a_user_without_a_home_hears_of_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    place.env.pop("XDG_CONFIG_HOME")
    with pytest.raises(EnvironmentProblem, match="no home folder") as caught:
        place.ask()
    assert caught.value.next_step == "set HOME or XDG_CONFIG_HOME"


def test_a_folder_that_cannot_be_entered_is_no_missing_file(place: Place) -> None:
    place.file.parent.rmdir()
    place.file.parent.symlink_to(place.file.parent.name)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        place.ask()


def test_validators_need_the_whole(place: Place, loads: list[Path]) -> None:
    place.file.write_text("validators: {post_work: [scan]}\n")
    for _ in range(2):
        found = place.ask()
        assert isinstance(found, Settings)
        assert found.validators.post_work == ("scan",)
    assert (len(loads), place.kept()) == (2, [])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"read": 1}', "null", "\0", "[" * 100_000])
def test_what_is_kept_and_spoilt_is_read_anew(place: Place, loads: list[Path], text: str) -> None:
    place.file.write_text("base_branch: trunk\n")
    place.ask()
    [file] = [path for path in place.kept() if path.is_file()]
    good = file.read_text()
    file.write_text(text or good.replace('"paths"', '"path"'))
    assert place.ask().base_branch == "trunk"
    assert len(loads) == 2
    assert file.read_text() == good


def test_nothing_in_the_checkout_can_vouch_for_itself(place: Place) -> None:
    place.file.write_text("governance: {mode: strict}\n")
    place.env["XDG_CACHE_HOME"] = str(place.repo / ".cache")
    place.ask()
    assert place.kept() == []
    place.env["XDG_CACHE_HOME"] = str(place.repo.parent / "cache")
    place.ask()
    [file] = [path for path in place.kept() if path.is_file()]
    planted = place.repo / ".cache" / "handshake" / "settings" / file.name
    planted.parent.mkdir(parents=True)
    planted.write_text(file.read_text().replace('"strict"', '"standard"'))
    for folder in (place.repo / ".cache", place.repo.parent / "link"):
        if not folder.exists():
            folder.symlink_to(place.repo / ".cache")
        place.env["XDG_CACHE_HOME"] = str(folder)
        assert place.ask().governance.mode == "strict"


def test_a_file_that_changes_while_it_is_read_is_not_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.file.write_text("base_branch: trunk\n")

    def load(root: Path, **more: object) -> object:
        place.file.write_text("base_branch: later\n")
        return load_settings(root, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load_settings", load)
    assert place.ask().base_branch == "later"
    assert place.kept() == []


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(place: Place, loads: list[Path]) -> None:
    place.file.write_text("base_branch: trunk\n")
    Path(place.env["XDG_CACHE_HOME"]).write_text("a file where the folder should be")
    assert [place.ask().base_branch for _ in range(2)] == ["trunk", "trunk"]
    assert len(loads) == 2
    assert [path.name for path in place.repo.iterdir()] == [".handshake"]
