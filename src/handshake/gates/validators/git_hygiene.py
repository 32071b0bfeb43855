"""`git-hygiene`: what does not belong into a repository, and what keeps it out."""

from __future__ import annotations

import re

from handshake.domain.packet import Finding
from handshake.domain.packet_fields import Remarks
from handshake.domain.packet_scope import in_scope
from handshake.gates.validators.scan import serves_tests
from handshake.gates.validators.view import View
from handshake.source.languages import language_of

LARGEST_UNTRACKED = 10_000_000

# language -> an artifact that its tools leave, the rule that ignores it
_ARTIFACTS = {
    "python": (("__pycache__/probe.pyc", "__pycache__/"),),
    "javascript": (("node_modules/probe/index.js", "node_modules/"),),
    "typescript": (("node_modules/probe/index.js", "node_modules/"),),
    "tsx": (("node_modules/probe/index.js", "node_modules/"),),
    "rust": (("target/debug/probe", "target/"),),
}
_NAME = re.compile(r"[a-z][a-z_.-]*")
_COMMITTED = (
    "**/__pycache__/**",
    "**/*.pyc",
    "**/node_modules/**",
    "target/debug/**",
    "target/release/**",
    "**/.pytest_cache/**",
    "**/.mypy_cache/**",
    "**/.ruff_cache/**",
    "**/*.egg-info/**",
    "**/.DS_Store",
    "**/Thumbs.db",
    "**/*.o",
    "**/*.class",
)


def validate(view: View) -> list[Finding]:
    """Artifacts that are committed or not ignored, files too large to be meant, and secrets."""
    untracked = set(view.untracked)
    tracked = [path for path in view.paths if path not in untracked]
    found = []
    for path in tracked:
        if in_scope(path, _COMMITTED):
            remarks = Remarks(path)
            remarks.error("HSK-VAL-ARTIFACT", None, "a build artifact is committed", f"git rm --cached -- '{path}'")
            found += remarks.findings
    return [*found, *_not_ignored(view, tracked), *_too_large(view), *_secrets(view)]


def _secrets(view: View) -> list[Finding]:
    """What a detector takes for a secret, in any text file that is judged; the secret itself is not shown."""
    from handshake.recorder.secrets import found_secrets

    findings: list[Finding] = []
    for path in view.judged:
        text = view.text(path)
        if text is None or in_scope(path, _COMMITTED):
            continue
        remarks = Remarks(path)
        for secret, kind in dict.fromkeys(found_secrets(text)):
            if kind == "Secret Keyword" and (serves_tests(path) or _NAME.fullmatch(secret)):
                continue  # the detector goes by the variable's name: a word that is a name is no password
            line = text.count("\n", 0, text.find(secret))
            mend = "take it out and revoke it: history keeps it"
            remarks.error("HSK-VAL-SECRET", line, f"what looks like a secret ({kind})", mend)
        findings += remarks.findings
    return findings


def _not_ignored(view: View, tracked: list[str]) -> list[Finding]:
    """Asked of git, which alone knows its rules; only where there is a working tree to ask about."""
    if view.worktree is None:
        return []
    languages = {language.name for path in tracked if (language := language_of(path)) is not None}
    probes = {probe for name in languages for probe in _ARTIFACTS.get(name, ())}
    remarks = Remarks(".gitignore")
    for probe, rule in sorted(probes):
        asked = view.repo.git.run("check-ignore", "--quiet", "--no-index", "--", probe, check=False)
        if asked.code == 1:
            remarks.error("HSK-VAL-IGNORE", None, f"{rule} is not ignored", f"add the line {rule}")
    return remarks.findings


def _too_large(view: View) -> list[Finding]:
    if view.worktree is None:
        return []
    found = []
    for path in view.untracked:
        file = view.worktree / path
        size = file.stat().st_size if file.is_file() and not file.is_symlink() else 0
        if size > LARGEST_UNTRACKED:
            remarks = Remarks(path)
            remarks.error(
                "HSK-VAL-LARGE",
                None,
                f"an untracked file of {size // 1_000_000} MB",
                "move it away, or have .gitignore name it",
            )
            found += remarks.findings
    return found
