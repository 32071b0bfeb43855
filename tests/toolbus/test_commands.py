"""Which programs a command starts, and what is refused because nobody can know."""

from __future__ import annotations

import pytest

from handshake.domain.errors import CapabilityViolation
from handshake.toolbus.commands import programs_of

KNOWN = {
    "pytest -q": ("pytest",),
    "PYTHONPATH=src pytest -q && ruff check . ; python -m x": ("pytest", "ruff", "python"),
    "python -m pytest": ("python",),
    "pytest -k 'a and b' tests/*.py 2>&1 | tee out.txt": ("pytest", "tee"),
    ".venv/bin/pytest": ("pytest",),
    "./.venv/bin/python -m x": ("python",),
    "node_modules/.bin/tsc": ("tsc",),
    "./run.sh": ("./run.sh",),
    "sub/../run.sh": ("./run.sh",),
    "../run.sh": ("../run.sh",),
    "/opt/x/pytest": ("/opt/x/pytest",),
    "bin/pytest": ("./bin/pytest",),
    "(cd a; pytest) | cat": ("pytest", "cat"),
    "{ a; b; } > f": ("a", "b"),
    "a & b": ("a", "b"),
    "! pytest": ("pytest",),
    "pytest\nrm x": ("pytest", "rm"),
    "if true; then a; else b; fi": ("a", "b"),
    "while a; do b; done": ("a", "b"),
    "for i in $(ls); do rm $i; done": ("ls", "rm"),
    'echo $(rm x) `ls` "a $(id)"': ("rm", "ls", "id"),
    "echo '$(rm x)'": (),
    'echo "\\$(rm x)"': (),
    "x=$(rm y)": ("rm",),
    "diff <(a) <(b)": ("diff", "a", "b"),
    'pytest > "$(rm z)"': ("pytest", "rm"),
    'cat <<< "$(id)"': ("cat", "id"),
    "f() { rm x; }; f": ("rm", "f"),
    "test -f x || exit 1": (),
    "[ -f x ] && pytest": ("pytest",),
    'p"yt"est': ("pytest",),
    "py\\test": ("pytest",),
    "env A=1 pytest": ("pytest",),
    "env -i -u X A=1 pytest": ("pytest",),
    "/usr/bin/env pytest": ("pytest",),
    "./env rm": ("./env",),
    "env": (),
    "sh -c 'pytest && rm x'": ("pytest", "rm"),
    "bash -lc 'ruff check'": ("ruff",),
    "bash -o pipefail -c 'a | b'": ("a", "b"),
    "sh -c \"sh -c 'rm x'\"": ("rm",),
    "sh run.sh": ("sh",),
    "echo rm | sh": ("sh",),
    "find . -name '*.py' -exec rm {} \\;": ("find", "rm"),
    "find . -execdir sh -c 'wc $1' _ {} + -ok mv {} x \\;": ("wc", "find", "mv"),
    "find . -exec {} +": ("find", "{}"),
    "ls | xargs -n1 rm": ("ls", "rm"),
    "ls | xargs -I{} sh -c 'wc {}'": ("ls", "wc"),
    "ls | xargs sh -c 'exec $0'": None,
    "timeout -k 5 10s pytest": ("pytest",),
    "timeout 5 nice -n 5 nohup setsid stdbuf -oL pytest": ("pytest",),
    "nice -5 pytest": ("pytest",),
    "eval 'rm x'": ("rm",),
    "trap 'rm x' EXIT; pytest": ("rm", "pytest"),
    "exec pytest": ("pytest",),
    "command pytest": ("pytest",),
    "command -v pytest": (),
    ". ./x.sh": (".",),
    "source x": ("source",),
    "alias a=b": ("alias",),
    "sudo rm": ("sudo",),
    "python -m pip install x": ("python", "pip"),
    "python3.12 -X dev -Im http.server 0": ("python3.12", "http"),
    ".venv/bin/python -mtox": ("python", "tox"),
    "python -m py_compile a.py": ("python",),
    "python -m unittest -c": ("python",),
    "python -W error x.py -c y": ("python",),
    "python -c 'import shop; print(shop.total([1]))'": ("python",),
    "python -c 'import os; print(os.getcwd())'": ("python",),
    "python -c 'import os; os.system(\"rm x && make\")'": ("rm", "make", "python"),
    'python -c \'import subprocess; subprocess.run(["git", "status"], check=True)\'': ("python", "git"),
    "python -c 'import subprocess as s'": None,
    "python -c 'import subprocess; subprocess.run(\"make | tee x\", shell=True)'": ("make", "tee", "python"),
    "ls | xargs python": None,
    "ls | xargs python -m json.tool": ("ls", "python"),
    "date +%Y%m%d": ("date",),
    "grep '^<html' x": ("grep",),
}

REFUSED = [
    "",
    "   ",
    "# nothing",
    'pytest "',
    "a;;b",
    "case a in b) rm;; esac",
    "echo $((1+$(id)))",
    "time pytest",
    "coproc rm",
    "$X a",
    "p* a",
    "~/bin/x",
    "echo ${x:-$(rm y)}",
    "echo ${PATH:=.}",
    "cat <<E\n$(rm x)\nE",
    "PATH=. pytest",
    "LD_PRELOAD=./x.so pytest",
    "BASH_ENV=x sh run.sh",
    "env PATH=. pytest",
    "env -S 'rm x'",
    "export PATH=.:$PATH; pytest",
    "for PATH in .; do pytest; done",
    "printf -v PATH .",
    'sh -c "pytest $X"',
    "sh -c",
    "bash --rcfile x",
    "eval $X",
    "timeout pytest",
    "timeout $T pytest",
    "timeout * pytest",
    "timeout {5,rm} pytest",
    "ls | xargs env",
    "ls | xargs timeout 5",
    "ls | xargs find",
    "ls | xargs sh -c",
    "pytest\r\nrm",
    "pytest\0rm",
    "sh -c 'sh -c $X'",
    'python -c "print($X)"',
    "python -c 'def'",
    "python -c",
    "python -m $X",
    'python -c \'import os; os.execvp("rm", ["rm"])\'',
    "python -c 'import os; os.system(input())'",
    "python -c 'from os import system; system(\"rm\")'",
    "python -c 'import subprocess; f = subprocess.run; f([\"rm\"])'",
    'python -c \'import subprocess; subprocess.run(["x"], executable="rm")\'',
    "python -c 'import subprocess; subprocess.run(*a)'",
    'python -c \'__import__("os").system("rm")\'',
    "python -c 'exec(open(\"x\").read())'",
    'python -c \'import os; getattr(os, "sys" + "tem")("rm")\'',
    "python -c 'import ctypes'",
    "cmd /c del x",
    "CMD.EXE /c del x",
    "powershell -Command x",
    "env pwsh x.ps1",
    ".venv\\Scripts\\pytest -q",
    ".\\run.bat",
    "C:\\tools\\x",
    "%USERPROFILE%/x",
    "build.cmd all",
    "fish -c 'rm x'",
]


@pytest.mark.parametrize(("command", "programs"), [(c, p) for c, p in KNOWN.items() if p is not None])
def test_a_command_counts_as_what_it_starts(command: str, programs: tuple[str, ...]) -> None:
    assert programs_of(command) == programs


@pytest.mark.parametrize("command", [*REFUSED, *(c for c, p in KNOWN.items() if p is None)])
def test_what_cannot_be_known_is_refused_with_a_reason(command: str) -> None:
    with pytest.raises(CapabilityViolation) as caught:
        programs_of(command)
    assert caught.value.code == "HSK-4001"
    assert caught.value.what


def test_shells_nested_without_end_are_refused() -> None:
    command = "rm x"
    for _ in range(10):
        command = "eval " + "'" + command.replace("'", "'\\''") + "'"
    with pytest.raises(CapabilityViolation):
        programs_of(command)
