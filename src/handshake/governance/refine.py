"""The refinement of a packet: made from the template, then checked. Contract: `packets-and-gates.md`."""

from __future__ import annotations

from pathlib import Path

from handshake.config.shipped import shipped
from handshake.domain.canonical import utc_text
from handshake.domain.clock import Clock
from handshake.domain.packet import Finding
from handshake.domain.settings import Settings
from handshake.gates.changes import sha1_forms
from handshake.gates.new_packet import new_packet
from handshake.gates.refinement import refinement_findings
from handshake.gates.spec import SPEC_CURRENT, find_spec, specs_named
from handshake.gates.strict import working_tree
from handshake.repo.atomic import write_durably
from handshake.repo.git import Repository


def template_text(root: Path, name: str) -> str:
    """A template: the repository's own in `.handshake/templates`, else the shipped one."""
    own = root / ".handshake" / "templates" / name
    return (own if own.is_file() else shipped("templates", name)).read_text(encoding="utf-8")


def refinement_path(settings: Settings, wp_id: str) -> str:
    """Where the refinement of a packet lies."""
    return f"{settings.paths.refinements}/{wp_id}.md"


def make_refinement(repo: Repository, settings: Settings, clock: Clock, wp_id: str, requestor: str) -> bool:
    """Write the file from the template, with the current spec and its SHA-1 filled in; False if it is there.

    Raises:
        UsageError: the id is none.
    """
    file = repo.root / refinement_path(settings, wp_id)
    read = working_tree(repo.root)
    pointer = read(SPEC_CURRENT)
    names = specs_named(pointer) if pointer is not None else ()
    spec = find_spec(names[0], read) if len(names) == 1 else None
    known = {"spec_file": spec[0], "spec_sha1": sha1_forms(spec[1])[0]} if spec else {}
    text = new_packet(
        template_text(repo.root, "refinement.md"),
        wp_id=wp_id,
        date=utc_text(clock.now()),
        requestor=requestor,
        **known,
    )
    if file.exists():
        return False
    write_durably(file, text.encode("utf-8"))
    return True


def check_refinement(
    repo: Repository, settings: Settings, wp_id: str, *, signature: str | None = None
) -> list[Finding]:
    """What keeps the refinement, as it lies in the working tree, from standing.

    Args:
        signature: the packet's; given, approval is asked for too.
    """
    read = working_tree(repo.root)
    return refinement_findings(wp_id, settings.paths.refinements, read, signature=signature)
