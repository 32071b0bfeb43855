"""What a command finds around it: a clean environment, and the places its programs live in. See `tool-bus.md`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# where people's toolchains live under the home, and the variable that finds them once HOME is a private one
_TOOLCHAINS: tuple[tuple[str, str | None], ...] = (
    (".pyenv", "PYENV_ROOT"),
    (".rustup", "RUSTUP_HOME"),
    (".cargo/bin", None),
    (".nvm/versions", None),
    (".volta", "VOLTA_HOME"),
    (".asdf", "ASDF_DATA_DIR"),
    (".local/share/mise/installs", None),
    (".local/share/uv/python", None),
    (".local/share/uv/tools", None),
    (".local/share/pipx/venvs", None),
    (".local/pipx/venvs", None),
    (".sdkman/candidates", None),
    ("go/bin", None),
    # modules that were downloaded: without network nothing is added to them
    ("go/pkg/mod", "GOMODCACHE"),
)
_ROOTS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
# what programs need of /etc to find users, hosts, libraries, time zones and certificates; no secrets among them
_ETC = (
    "passwd",
    "group",
    "nsswitch.conf",
    "hosts",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "timezone",
    "mime.types",
    "protocols",
    "services",
    "alternatives",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ca-certificates",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "fonts",
    "java-17-openjdk",
    "java-21-openjdk",
    "os-release",
)
_KEPT = ("LANG", "LANGUAGE", "TZ")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# below these a toolchain stands as a whole; elsewhere the directory beside `bin` may be somebody's home
_WHOLE = ("/opt/", "/snap/", "/home/linuxbrew/.linuxbrew/")
# a search path that names one of these whole must not make it readable
_NEVER = frozenset({"/", "/etc", "/home", "/root", "/run", "/var", "/proc", "/sys", "/dev", "/mnt"})


def clean_environment(
    worktree: Path, inherited: Mapping[str, str], *, home: str, tmp: str, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a command: an allow-list, no tokens, nothing else of ours.

    Args:
        worktree: its own `.venv/bin` comes first on the search path, if it is there.
        inherited: our environment; the language, the time zone and the search path are taken from it.
        home, tmp: the private directories, as the command sees them.
        extra: variables the operation sets; already checked.
    """
    env = {
        "PATH": os.pathsep.join(search_path(worktree, inherited)),
        "HOME": home,
        "TMPDIR": tmp,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "CI": "1",
        "NO_COLOR": "1",
    }
    env |= {name: value for name, value in inherited.items() if name in _KEPT or name.startswith("LC_")}
    real_home = _home(inherited)
    for folder, variable in _TOOLCHAINS:
        if variable is not None and real_home is not None and (place := real_home / folder).is_dir():
            env[variable] = str(place)
    return env | dict(extra or {})


def search_path(worktree: Path, inherited: Mapping[str, str]) -> list[str]:
    """Directories programs are looked up in: the project's own, ours as inherited, then those of this interpreter.

    Relative entries are dropped: they would name a directory of the worktree.
    """
    own = worktree / ".venv" / "bin"
    entries = [str(own)] if own.is_dir() else []
    entries += [entry for entry in inherited.get("PATH", os.defpath).split(os.pathsep) if Path(entry).is_absolute()]
    entries.append(str(Path(sys.executable).parent))
    return list(dict.fromkeys(entries))


def system_files() -> list[Path]:
    """What of the system a sandbox shows read-only: `/usr`, what leads there or lies beside, some of `/etc`."""
    places = [Path("/", name) for name in _ROOTS] + [Path("/etc", name) for name in _ETC]
    return [place for place in places if place.exists()]


def readable_prefixes(worktree: Path, inherited: Mapping[str, str]) -> list[Path]:
    """Directories outside the system's own that a sandbox shows read-only, so that programs and interpreters run.

    Nothing here is derived from what lies in the worktree: a link planted there would be a way out.
    """
    found: list[Path] = []
    for prefix in (sys.base_prefix, sys.base_exec_prefix, sys.prefix):
        found += _with_target(Path(prefix))
    for entry in inherited.get("PATH", os.defpath).split(os.pathsep):
        place = Path(entry)
        if place.is_absolute() and not _is_in(place, worktree):
            for candidate in _around(place):
                found += _with_target(candidate)
    home = _home(inherited)
    for folder, _ in _TOOLCHAINS if home is not None else ():
        assert home is not None
        found += _with_target(home / folder)
    found += [store] if (store := Path("/nix/store")).is_dir() else []
    return [place for place in dict.fromkeys(found) if _may_be_shown(place, worktree, home)]


def _around(entry: Path) -> list[Path]:
    """What a search path entry needs beside it: a virtual environment whole, its base, or a toolchain under /opt."""
    config = entry.parent / "pyvenv.cfg"
    try:
        if config.is_file():
            return [entry, entry.parent, *_base_of(config)]
        whole = (entry.parent / "conda-meta").is_dir() or str(entry).startswith(_WHOLE)
    except OSError:
        return []  # somebody else's folder, which this user may not look into
    return [entry, entry.parent] if whole else [entry]


def _base_of(config: Path) -> list[Path]:
    """Where the interpreter behind a virtual environment lies; nothing if its file cannot be read."""
    try:
        lines = config.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    pairs = [line.partition("=") for line in lines]
    return [Path(value.strip()).parent for key, _, value in pairs if key.strip() == "home" and value.strip()]


def _with_target(place: Path) -> list[Path]:
    try:
        real = place.resolve(strict=True)
    except OSError:
        return []
    return [real] if real == place else [place, real]


def _may_be_shown(place: Path, worktree: Path, home: Path | None) -> bool:
    text = str(place)
    if (
        text in _NEVER
        or text == tempfile.gettempdir()
        or any(text == root or text.startswith(root + "/") for root in _SYSTEM)
    ):
        return False
    if _is_in(worktree, place) or _is_in(place, worktree):
        return False
    if home is not None and _is_in(home, place):
        return False
    return place.is_dir() and os.access(place, os.R_OK | os.X_OK)


def _is_in(place: Path, folder: Path) -> bool:
    return place == folder or folder in place.parents


def _home(inherited: Mapping[str, str]) -> Path | None:
    text = inherited.get("HOME", "")
    return Path(text) if text and Path(text).is_absolute() and text != "/" else None
