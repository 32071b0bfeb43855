"""Which of the known files a file imports. Simple by design: a missed edge costs a rank, never a file."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath

_PYTHON = re.compile(r"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+\(?([\w ,\t]*)|import[ \t]+([\w., \t]+))", re.M)
_SCRIPT = re.compile(r"""(?:\bfrom\s+|\bimport\s+|\brequire\(\s*|\bimport\(\s*)['"](\.{1,2}/[^'"]+)['"]""")
_RUST = re.compile(r"^[ \t]*(?:pub[ \t]+)?(?:use[ \t]+(?:crate|super|self)::([\w:]+)|mod[ \t]+(\w+)[ \t]*;)", re.M)
_GO = re.compile(r'^[ \t]*(?:import[ \t]+)?(?:\w+[ \t]+)?"([\w./-]+)"', re.M)

_SCRIPT_ENDINGS = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", "/index.ts", "/index.js")


def imported_paths(path: str, text: str, known: frozenset[str]) -> frozenset[str]:
    """The paths of `known` that this file imports, itself left out."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".py":
        found = _python(path, text, known)
    elif suffix in {".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx"}:
        found = _script(path, text, known)
    elif suffix == ".rs":
        found = {p for names in _RUST.findall(text) for p in _rust(names[0] or names[1], known)}
    elif suffix == ".go":
        folders = {name.rstrip("/") for name in _GO.findall(text)}
        found = {
            p
            for p in known
            if p.endswith(".go") and any(("/" + f).endswith("/" + posixpath.dirname(p)) for f in folders)
            and posixpath.dirname(p)
        }  # fmt: skip
    else:
        found = set()
    return frozenset(found - {path})


def _python(path: str, text: str, known: frozenset[str]) -> set[str]:
    found: set[str] = set()
    for origin, names, plain in _PYTHON.findall(text):
        modules = [part.split()[0] for part in plain.split(",") if part.strip()] if plain else []
        if origin:
            base = _absolute(path, origin)
            modules += [base, *(f"{base}.{name.split()[0]}" for name in names.split(",") if name.strip())]
        for module in modules:
            found |= _module_files(module, known)
    return found


def _absolute(path: str, origin: str) -> str:
    """A relative import's module, by folder; an absolute one as it is."""
    bare = origin.lstrip(".")
    dots = len(origin) - len(bare)
    if not dots:
        return origin
    folder = PurePosixPath(path).parent.parts
    kept = folder[: len(folder) - (dots - 1)] if dots > 1 else folder
    return ".".join((*kept, *([bare] if bare else [])))


def _module_files(module: str, known: frozenset[str]) -> set[str]:
    stem = module.strip(".").replace(".", "/")
    if not stem:
        return set()
    ends = (f"/{stem}.py", f"/{stem}/__init__.py")
    return {p for p in known if ("/" + p).endswith(ends)}


def _script(path: str, text: str, known: frozenset[str]) -> set[str]:
    found = set()
    for name in _SCRIPT.findall(text):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        stems = (target, posixpath.splitext(target)[0])
        found |= {stem + end for stem in stems for end in _SCRIPT_ENDINGS} & known
    return found


def _rust(name: str, known: frozenset[str]) -> set[str]:
    parts = [part for part in name.split("::") if part]
    tails = {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return {p for p in known for tail in tails if ("/" + p).endswith((f"/{tail}.rs", f"/{tail}/mod.rs"))}
