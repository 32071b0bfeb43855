"""The units are what systemd and launchd read, whatever the folder is called, and printing them changes nothing."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from handshake.daemon.service import service_for

ODD = 'my "odd" $HOME & 100% repo\'s'


@pytest.fixture
def made(tmp_path):
    root = tmp_path / ODD
    root.mkdir()
    command = ["/usr/bin/env", "-C", str(root), "daemon"]

    def make(manager):
        return service_for(manager, root, command=command, home=tmp_path / "home", path="/a b:/usr/bin")

    return make, root, command


def test_launchd_reads_its_list(made):
    make, root, command = made
    service = make("launchd")
    read = plistlib.loads(service.text.encode())
    assert read["ProgramArguments"] == command
    assert read["WorkingDirectory"] == str(root)
    assert read["EnvironmentVariables"] == {"PATH": "/a b:/usr/bin"}
    assert read["KeepAlive"] == {"SuccessfulExit": False}
    assert service.path.name == f"{read['Label']}.plist"


def test_the_unit_has_one_value_a_line_and_escapes_what_systemd_would_read(made):
    make, root, _ = made
    service = make("systemd")
    lines = dict(line.partition("=")[::2] for line in service.text.splitlines() if "=" in line)
    assert lines["WorkingDirectory"] == str(root).replace("%", "%%")
    assert lines["Environment"] == '"PATH=/a b:/usr/bin"'
    assert "100%% repo" in lines["ExecStart"] and '\\"odd\\" $$HOME' in lines["ExecStart"]
    assert "{" not in service.text.replace("${", "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_its_unit(made, tmp_path):
    service = made[0]("systemd")
    place = tmp_path / service.path.name
    place.write_text(service.text)
    command = ["systemd-analyze", "verify", "--user", str(place)]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0 and place.name not in done.stderr, done.stderr


@pytest.mark.parametrize("manager", ["systemd", "launchd"])
def test_what_is_printed_is_a_script_that_writes_the_unit(made, manager, tmp_path):
    service = made[0](manager)
    assert not service.path.exists()
    starts = [line for line in service.script().splitlines() if line.startswith(("systemctl", "launchctl"))]
    assert starts
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("systemctl", "launchctl"):
        (bin_folder / name).write_text("#!/bin/sh\n")
        (bin_folder / name).chmod(0o755)
    subprocess.run(["sh"], input=service.script(), text=True, check=True, env={"PATH": f"{bin_folder}:/usr/bin:/bin"})
    assert service.path.read_text() == service.text.rstrip("\n") + "\n"


def test_two_repositories_of_one_name_are_two_services(tmp_path):
    paths = {service_for("systemd", Path(f"/{n}/repo"), command=["x"], home=tmp_path, path="").path for n in "ab"}
    assert len(paths) == 2
