"""`handshake trust`: let this repository's configuration start programs, see which may, take it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handshake.cli.options import Json, open_repository, write, write_json
from handshake.domain.errors import HandshakeError, UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("trust")(trust)


def trust(
    context: typer.Context,
    listing: Annotated[
        bool, typer.Option("--list", help="Show what is trusted, and whether it still is so.")
    ] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Forget that this repository was trusted.")] = False,
    show: Annotated[
        bool,
        typer.Option("--show", help="Show what would be trusted and HANDSHAKE_TRUST=<hash> for CI; record nothing."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Let the repository's configuration start programs, on record outside it. Example: handshake trust"""
    if listing + revoke + show > 1:
        raise UsageError("--list, --revoke and --show exclude each other", next_step="handshake trust --help")
    if listing:
        return _list(as_json=as_json)
    if revoke:
        return _revoke(context)
    return _trust(context, record=not show, as_json=as_json)


def _trust(context: typer.Context, *, record: bool, as_json: bool) -> None:
    from handshake.config import trust as trusting
    from handshake.config.loading import read_repository_file
    from handshake.config.places import TRUST_VARIABLE

    repo = open_repository(context.obj)
    raw = read_repository_file(repo.root)
    keys = trusting.program_keys(raw, repo.root)
    digest = trusting.trust(repo.root, raw) if record else trusting.trust_hash(raw, repo.root)
    if as_json:
        write_json({"repository": str(repo.root), "keys": keys, "hash": digest, "trusted": record})
        return
    word = "trusted" if record else "to be trusted:"
    write(f"{word} {', '.join(keys) or 'nothing that starts programs'} of {repo.root}")
    write(f"{TRUST_VARIABLE}={digest}")


def _list(*, as_json: bool) -> None:
    from handshake.config.trust import trusted_repositories

    rows = [
        {"repository": place, "hash": digest, "state": _state(Path(place), digest)}
        for place, digest in trusted_repositories().items()
    ]
    if as_json:
        write_json({"repositories": rows})
        return
    for row in rows:
        write(f"{row['hash'][:12]}  {row['state']:<8} {row['repository']}")
    if not rows:
        write("no repository is trusted")


def _state(place: Path, digest: str) -> str:
    """`trusted`, `changed` since, or `gone`."""
    from handshake.config.loading import read_repository_file
    from handshake.config.trust import trust_hash

    if not place.is_dir():
        return "gone"
    try:
        now: Any = trust_hash(read_repository_file(place), place)
    except HandshakeError:
        return "changed"
    return "trusted" if now == digest else "changed"


def _revoke(context: typer.Context) -> None:
    from handshake.config.trust import revoke, trusted_repositories

    root = Path(context.obj.directory).resolve()
    if str(root) not in trusted_repositories():  # one on record may be gone
        root = open_repository(context.obj).root
    write(f"{root} is not trusted any more" if revoke(root) else f"{root} was not trusted")
