"""The page: one file that asks the network for nothing and runs nothing. Contract: `interface.md`, `report`.

Everything is escaped by the template engine; only diffs come as HTML, escaped where they are made. Should that
fail once, the page's own policy lets no script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from handshake import __version__
from handshake.config.shipped import shipped
from handshake.domain.canonical import utc_text
from handshake.loop.run import Run
from handshake.report.diffs import DiffLine, FileDiff, file_diffs
from handshake.report.gather import gather
from handshake.report.plain_text import duration, money, number, percent, visible, words
from handshake.report.timeline import lay_out

if TYPE_CHECKING:
    from markupsafe import Markup

GENERATOR = "Handshake report"


def render(run: Run) -> str:
    """The report of a run as it stands on its branch now.

    Raises:
        InvalidEvent, RecorderFailed: the journal cannot be read.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = shipped("templates", "report")
    engine = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters.update(
        visible=visible,
        prose=_prose,
        duration=duration,
        number=number,
        money=money,
        words=words,
        utc=lambda moment: utc_text(moment)[:19] + "Z",
    )
    style = (folder / "run.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    view = gather(run)
    return engine.get_template("run.html").render(
        view=view,
        job=run.job,
        progress=run.progress,
        timeline=lay_out(view.mts),
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=digest,
        diffs=_diffs,
        percent=percent,
        generator=f"{GENERATOR} {__version__}",
        now=run.around.clock.now(),
        branch=run.branch.ref.removeprefix("refs/heads/"),
    )


def _prose(text: str) -> Markup:
    """A sentence, escaped, its words in backticks as code."""
    from markupsafe import Markup, escape

    parts = visible(text).split("`")
    if len(parts) % 2 == 0:
        return escape(visible(text))
    coded = (
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )
    return Markup("").join(coded)


def _diffs(patch: str) -> list[tuple[FileDiff, list[tuple[DiffLine, Markup]]]]:
    """A patch's files, each with its lines and their HTML, which is escaped where it is made."""
    from markupsafe import Markup

    return [(diff, [(line, Markup(line.html)) for line in diff.lines]) for diff in file_diffs(patch)]  # noqa: S704
