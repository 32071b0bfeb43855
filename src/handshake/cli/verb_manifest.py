"""`handshake manifest write` fills the validation manifest; `cor701-sha` shows the hashes it is made of."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from handshake.cli.options import Json, open_surroundings, write, write_json
from handshake.domain.errors import UsageError

if TYPE_CHECKING:
    from handshake.repo.git import Repository

group = typer.Typer(help="The validation manifest of a packet.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(group, name="manifest")
    app.command("cor701-sha")(cor701_sha)


@group.command("write")
def write_manifest(
    context: typer.Context,
    wp_id: str = typer.Argument(help="The packet."),
    asked: str | None = typer.Option(None, "--range", help="These commits: A..B, or A...B.", metavar="A..B"),
    as_json: Json = False,
) -> None:
    """Fill the packet's manifest from what changed. Example: handshake manifest write WP-1-Faster-Start-v1"""
    from handshake.domain.packet_edit import with_manifest
    from handshake.domain.packet_lines import read_lines
    from handshake.domain.packet_manifest import manifest_blocks
    from handshake.gates.judged_range import judged_range, packet_path
    from handshake.gates.manifest import changes_between, manifest_entries
    from handshake.repo.atomic import write_durably
    from handshake.repo.packet_file import read_packet_file

    around = open_surroundings(context.obj)
    path = packet_path(around.settings, wp_id)
    file = around.repo.root / path
    data = read_packet_file(around.repo.root, path)
    if data is None:
        raise UsageError(f"there is no packet {path}", next_step=f"handshake new {wp_id}")
    chosen = judged_range(around.repo, around.settings.base_branch, asked)
    changes = changes_between(around.repo, chosen.base, chosen.head) if chosen else ()
    entries = manifest_entries(change for change in changes if change.path != path)
    # what `git commit -a` would take along is not in the index yet, where we look
    unstaged = [name for name in _changed_on_disk(around.repo) if name != path] if asked is None else []
    if chosen is None or not changes:
        raise UsageError(
            f"nothing is staged, and nothing changed since {around.settings.base_branch}",
            next_step=f"git add {_named(unstaged)}" if unstaged else "git add what belongs to the work",
        )
    written = {entry.target_file for entry in entries}
    old = {block.target for block in manifest_blocks(read_lines(data)) if not block.is_template}
    edited = with_manifest(data, entries, drop=old - written)
    if edited != data:
        write_durably(file, edited)
    done = {
        "path": path,
        "files": sorted(written),
        "dropped": sorted(old - written),
        "changed": edited != data,
        "not_staged": unstaged,
    }
    if as_json:
        write_json({"wp_id": wp_id, "base": chosen.base, "staged": chosen.staged, **done})
    else:
        what = "wrote" if edited != data else "kept"
        write(f"{what} {len(entries)} blocks in {path}. Next: git add {path}")
        if unstaged:
            write(
                f"not looked at, because not staged: {_named(unstaged)}. If they belong to it: git add them,"
                f" then handshake manifest write {wp_id}"
            )


def _changed_on_disk(repo: Repository) -> list[str]:
    """Tracked files whose content is not that of the index, sorted."""
    rows = repo.git.names("status", "--porcelain", "--no-renames", "--untracked-files=no", "-z")
    return sorted(row[3:] for row in rows if row[1] not in " ?!")


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return " ".join(shlex.quote(path) for path in paths[:3]) + more


def cor701_sha(
    context: typer.Context,
    file: str = typer.Argument(help="A file of the repository."),
    as_json: Json = False,
) -> None:
    """SHA-1 of a file at the base, in the index and on disk. Example: handshake cor701-sha src/app.py"""
    from handshake.gates.changes import sha1_forms
    from handshake.gates.judged_range import left_base_at
    from handshake.repo.tree import TreeView

    around = open_surroundings(context.obj)
    repo = around.repo
    place = Path(context.obj.directory).resolve() / file
    try:
        path = (place.parent.resolve() / place.name).relative_to(repo.root).as_posix()
    except ValueError:
        raise UsageError(f"{file} is not in {repo.root}", next_step="name a file of the repository") from None
    head = repo.resolve("HEAD")
    base = None if head is None else left_base_at(repo, around.settings.base_branch, head)
    staged = repo.git.run("cat-file", "blob", f":{path}", check=False)
    contents = {
        "base": None if base is None else TreeView(repo.git, repo.pygit2, base).read(path),
        "index": staged.stdout if staged.code == 0 else None,
        "worktree": _on_disk(repo.root / path),
    }
    if all(content is None for content in contents.values()):
        raise UsageError(f"{path} is nowhere: not at the base, not staged, not on disk", next_step="git status")
    if as_json:
        rows = {name: dict(zip(("lf", "raw", "crlf"), sha1_forms(c), strict=True)) for name, c in contents.items()}
        write_json({"path": path, "base_commit": base, **rows})
        return
    for name, content in contents.items():
        normal, raw, _ = sha1_forms(content)
        note = "  (no file)" if content is None else "" if normal == raw else f"  (as it stands, with CRLF: {raw})"
        write(f"{name:<9}{normal}{note}")


def _on_disk(file: Path) -> bytes | None:
    if file.is_symlink():
        return os.fsencode(file.readlink())
    return file.read_bytes() if file.is_file() else None
