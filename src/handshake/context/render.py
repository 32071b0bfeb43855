"""Templates to sections. A profile's template overrides the common one of the same name."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handshake.config.shipped import shipped
from handshake.domain.errors import EnvironmentProblem

if TYPE_CHECKING:
    from jinja2 import Environment


class Templates:
    """The prompt templates of one profile."""

    def __init__(self, profile: str, folder: Path | None = None) -> None:
        self._environment = _environment(str(folder or shipped("templates", "prompts")), profile)

    def render(self, section: str, **values: Any) -> str:
        """The section's text.

        Raises:
            EnvironmentProblem: the template is missing, wrong, or asks for a value that is not given.
        """
        from jinja2 import TemplateError

        try:
            return self._environment.get_template(f"{section}.md").render(**values)
        except TemplateError as error:
            raise EnvironmentProblem(
                f"the prompt template {section}.md cannot be used: {error}",
                next_step="mend the template, or reinstall: pip install --force-reinstall handshake",
            ) from error


@cache
def _environment(folder: str, profile: str) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    root = Path(folder)
    return Environment(
        loader=FileSystemLoader([root / profile, root / "common"]),
        autoescape=False,  # noqa: S701 - prompts are text, not HTML: data stands in fences
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
