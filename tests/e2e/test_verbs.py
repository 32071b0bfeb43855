"""Every verb as a new user meets it, in a scratch repository."""

from __future__ import annotations

import json
import sys

import yaml

from handshake.loop.calibrate import read_edits

WP = "WP-1-Shop-Prices-v1"


def test_init_writes_what_is_needed_once(shop):
    first = shop.handshake("init").stdout
    assert "wrote    .handshake/config.yaml" in first
    assert "hooks/pre-commit" in first
    assert (shop.root / ".git" / "hooks" / "pre-commit").is_file()
    config = shop.root / ".handshake" / "config.yaml"
    config.write_text("version: 1\nbase_branch: main\n# mine\n")
    again = shop.handshake("init").stdout
    assert "kept     .handshake/config.yaml" in again
    assert config.read_text().endswith("# mine\n")


def test_a_hook_of_somebody_else_is_kept_and_comes_back(shop):
    hook = shop.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 0\n")
    assert "runs pre-commit.before-handshake first" in shop.handshake("init").stdout
    shop.handshake("hooks", "uninstall")
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"
    assert [p.name for p in hook.parent.iterdir() if not p.name.endswith(".sample")] == ["pre-commit"]


def test_a_new_packet_is_checked_filled_and_runs(shop):
    shop.serve()
    shop.configure()
    shop.handshake("init")
    shop.handshake("new", WP)
    path = shop.root / "docs" / "task_packets" / f"{WP}.md"
    refused = shop.handshake("check", WP, code=2).stdout
    assert f"docs/task_packets/{WP}.md:" in refused
    assert "USER_SIGNATURE" in refused
    assert shop.handshake("run", WP, code=2).stderr.count("Next:") == 1
    shop.handshake("new", WP, code=2)  # it is there already

    path.unlink()
    shop.drop()
    assert "0 errors" in shop.handshake("check").stdout
    assert shop.json("check")["ok"] is True
    shop.handshake("run", WP)


def test_doctor_says_what_serves_each_level_and_what_to_mend(shop):
    shop.serve()
    shop.configure()
    good = shop.json("doctor")
    assert good["ok"] is True
    assert {row["check"] for row in good["checks"]} >= {"python", "git", "repository", "sandbox", "level 0"}
    level = next(row["what"] for row in good["checks"] if row["check"] == "level 0")
    assert ", profile tiny, window " in level
    assert "first text after" in level
    quick = shop.json("doctor", "--quick")
    assert "first text" not in json.dumps(quick)
    assert shop.server is not None
    shop.server.stop()
    bad = shop.json("doctor", code=7)
    levels = [row for row in bad["checks"] if row["check"].startswith("level") and not row["ok"]]
    assert len(levels) == 2


def test_calibrate_stores_what_worked_and_nothing_where_nothing_did(shop, make_server):
    whole = [
        {"when": {"contains": edit.path}, "reply": f"FILE: {edit.path}\n```\n{edit.after}```\n"}
        for edit in read_edits()
    ]
    shop.borrow(make_server([{"when": {"model": "m1"}, "reply": "I would rather not."}, *whole, {"reply": "?"}]))
    shop.configure(levels=2)
    path = shop.root / ".handshake" / "config.yaml"
    before = path.read_bytes()
    unable = shop.handshake("calibrate", "m1", code=1).stdout
    assert "no form worked, nothing is stored. Next: another models.m1.profile (tiny was tried)" in unable
    assert path.read_bytes() == before
    assert "whole          12 of 12 applied, 12 right" in shop.handshake("calibrate", "m0").stdout
    assert yaml.safe_load(path.read_text())["models"]["m0"]["edit_forms"] == ["whole"]
    shop.server.stop()


def test_config_show_says_where_a_value_comes_from(shop):
    shop.serve()
    shop.configure()
    shown = shop.handshake("config", "show", "--origin", HANDSHAKE_DAEMON__MAX_PARALLEL="3").stdout
    assert "daemon.max_parallel = 3  # HANDSHAKE_DAEMON__MAX_PARALLEL" in shown
    assert ".handshake/config.yaml:" in shown
    assert json.loads(shop.handshake("config", "schema").stdout)["title"] == "Settings"


def test_configuration_that_starts_programs_waits_for_trust(shop):
    shop.serve()
    shop.configure(commands={"allow": ["python", "make"]})
    shop.drop()
    refused = shop.handshake("run", WP, code=2)
    assert "commands.allow" in refused.stderr
    assert "handshake trust" in refused.stderr
    shown = shop.json("trust", "--show")
    assert (shown["keys"], shown["trusted"]) == (["commands.allow"], False)
    assert shop.json("trust", "--list")["repositories"] == []
    for verb in (["run", WP], ["daemon", "--once"]):
        other = shop.handshake(*verb, code=2, HANDSHAKE_TRUST="0" * 64)
        assert "HANDSHAKE_TRUST is not the hash" in other.stderr
        assert shown["hash"] in other.stderr
    assert f"HANDSHAKE_TRUST={shown['hash']}" in shop.handshake("trust").stdout
    assert [row["state"] for row in shop.json("trust", "--list")["repositories"]] == ["trusted"]
    shop.handshake("run", WP)
    shop.configure(commands={"allow": ["python", "make", "rm"]})
    assert [row["state"] for row in shop.json("trust", "--list")["repositories"]] == ["changed"]
    assert "it changed" in shop.handshake("run", WP, code=2).stderr
    assert "not trusted any more" in shop.handshake("trust", "--revoke").stdout
    assert shop.json("trust", "--list")["repositories"] == []
    assert "exclude each other" in shop.handshake("trust", "--list", "--revoke", code=2).stderr


def test_the_engines_conform_here(shop):
    checked = shop.json("engines", "check")
    assert checked["ok"]
    assert {row["engine_id"] for row in checked["checks"]} == {"engine.shell", "engine.workspace", "engine.context"}
    assert len(checked["checks"]) == 24
    assert "engine.shell" in shop.handshake("engines", "check").stdout


def test_the_pre_commit_hook_refuses_a_broken_packet_and_can_be_gone_round(shop):
    import os
    import subprocess
    from pathlib import Path

    shop.handshake("init")
    broken = shop.root / "docs" / "task_packets" / f"{WP}.md"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("# nothing of a packet\n")
    shop.git("add", "-A")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commit = ["git", "-C", str(shop.root), "commit", "-qm", "x"]

    def attempt(**env: str) -> subprocess.CompletedProcess[str]:
        environment = {**shop.environment, "PATH": path, **env}
        return subprocess.run(commit, env=environment, capture_output=True, text=True, check=False)

    refused = attempt()
    assert refused.returncode != 0
    assert "pre-commit refuses" in refused.stderr
    assert attempt(HANDSHAKE_SKIP="1").returncode == 0


def test_a_hand_edit_of_the_log_is_refused(ready):
    import os
    import subprocess
    from pathlib import Path

    ready.handshake("init")
    ready.handshake("run", WP)
    tip = ready.git("rev-parse", f"handshake/track/{WP}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["git", "-C", str(ready.root), "update-ref", f"refs/heads/handshake/track/{WP}", f"{tip}^"]
    done = subprocess.run(
        command, env={**ready.environment, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "written by Handshake alone" in done.stderr
    assert ready.git("rev-parse", f"handshake/track/{WP}") == tip


def test_models_are_listed(shop):
    rows = shop.json("model", "list")["models"]
    assert {"qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"} <= {row["name"] for row in rows}


def test_the_scripted_demo_ends_with_passing_tests(tmp_path, shop):
    done = shop.handshake("demo", "--scripted", "--dir", str(tmp_path / "demo"))
    assert "interrupted" not in done.stderr
    assert "completed; the tests on feat/WP-1-Shop-Prices-v1: Ran 7 tests, OK" in done.stdout
    assert "escalates from small to large" in done.stderr
    assert "**Post-SHA1**" in done.stdout


def test_help_has_an_example_for_every_verb(shop):
    from typer.main import get_command

    from handshake.cli.main import app

    def walk(command, path):
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, [*path, name])
        if not hasattr(command, "commands"):
            yield path, command

    for path, command in walk(get_command(app), []):
        assert command.help and "Example: handshake " in command.help, path


def test_the_seed_packet_is_planned_where_it_is_present(shop):
    """The finished packet that this project began with: cut into several micro-tasks, every bullet placed."""
    from pathlib import Path

    import pytest

    from handshake.domain.packet_text import read_packet

    seed = Path(__file__).parents[3] / "shared" / "seeds" / "WP-1-Micro-Task-Executor-v1.md"
    if not seed.is_file():
        pytest.skip("the seed packets are not beside this checkout")
    packet = read_packet(seed.read_bytes(), seed.name).packet
    assert packet is not None
    for path in packet.in_scope_paths:
        place = shop.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    (shop.root / "docs" / "task_packets").mkdir(parents=True)
    (shop.root / "docs" / "task_packets" / seed.name).write_bytes(seed.read_bytes())
    shop.git("add", "-A")
    shop.git("commit", "-qm", "the seed's tree")
    done = shop.handshake("plan", seed.stem, "--json")
    plan = json.loads(done.stdout)
    assert len(plan["definitions"]) >= 5
    assert len(plan["criteria"]) == 7
    assert all(plan["criteria"].values())
    assert "proc.exec:cargo" in done.stderr  # a run would be refused: the configuration does not allow cargo


def test_a_command_that_no_shell_reads_is_planned_and_refused_in_one_line(shop):
    command = "python -m unittest discover -s tests -t ."
    shop.drop(lambda text: text.replace(command, "python -m unittest 'tests"))
    planned = shop.handshake("plan", WP)
    assert "MT-001" in planned.stdout
    assert f"a run would be refused: TEST_PLAN of {WP}: the command cannot be parsed" in planned.stderr
    shop.serve()
    shop.configure()
    refused = shop.handshake("run", WP, code=2)
    assert f"Next: mend the command in the packet, then: handshake plan {WP}" in refused.stderr
    assert not shop.git("branch", "--list", "feat/*")
