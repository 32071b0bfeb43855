"""Templates to sections. A profile's template overrides the common one of the same name.

Templates may come from a repository. They are text, not programs: they are rendered in Jinja's sandbox, see only
the values of their section, and can neither import nor read a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handshake.config.shipped import shipped
from handshake.domain.errors import EnvironmentProblem

if TYPE_CHECKING:
    from jinja2 import Environment

SECTIONS = ("system", "task", "status", "files", "previous", "completion")
LARGEST_TEMPLATE_BYTES = 65_536


class Templates:
    """The prompt templates of one profile. `texts` are those in use, by section.

    Args:
        profile: the model's profile.
        folder: templates that take the place of the shipped ones; one that is not there is the shipped one.
        texts: the texts themselves; then nothing is read.
    """

    def __init__(self, profile: str, folder: Path | None = None, texts: Mapping[str, str] | None = None) -> None:
        self.texts = dict(texts) if texts is not None else _read(profile, folder)
        self._environment = _environment(tuple(sorted(self.texts.items())))

    def render(self, section: str, **values: Any) -> str:
        """The section's text.

        Raises:
            EnvironmentProblem: the template is missing, wrong, or asks for what it may not have.
        """
        from jinja2 import TemplateError

        try:
            return self._environment.get_template(section).render(**values)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, OverflowError) as error:
            raise EnvironmentProblem(
                f"the prompt template {section}.md cannot be used: {' '.join(str(error).split())}",
                next_step="mend the template, or take context.templates out of the configuration",
            ) from error


def _read(profile: str, folder: Path | None) -> dict[str, str]:
    roots = [
        root / part for root in (folder, shipped("templates", "prompts")) if root for part in (profile, "common")
    ]
    return {section: _first(section, roots) for section in SECTIONS}


def _first(section: str, roots: list[Path]) -> str:
    for root in roots:
        place = root / f"{section}.md"
        try:
            if place.stat().st_size > LARGEST_TEMPLATE_BYTES:
                raise EnvironmentProblem(f"{place} is larger than {LARGEST_TEMPLATE_BYTES} bytes", next_step="cut it")
            return place.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentProblem(f"{place} cannot be read: {error}", next_step="mend or remove it") from error
    raise EnvironmentProblem(
        f"the prompt template {section}.md is missing",
        next_step="reinstall: pip install --force-reinstall handshake",
    )


_FILTERS = ("capitalize", "count", "default", "d", "first", "join", "last", "length", "list", "lower", "reject",
            "rejectattr", "replace", "select", "selectattr", "sort", "title", "trim", "truncate", "unique", "upper",
            "wordcount")  # fmt: skip


@cache
def _environment(texts: tuple[tuple[str, str], ...]) -> Environment:
    from jinja2 import DictLoader, StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class TextOnly(ImmutableSandboxedEnvironment):
        """Values, conditions, loops over what is given, some filters: nothing runs or grows without bound."""

        intercepted_binops = frozenset({"*", "**", "%"})

        def is_safe_callable(self, obj: Any) -> bool:
            return False

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**" or not all(isinstance(side, int) for side in (left, right)):
                raise SecurityError(f"{operator} is for small numbers")
            return super().call_binop(context, operator, left, right)

    environment = TextOnly(
        loader=DictLoader(dict(texts)),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in _FILTERS}
    return environment
