"""The script: ordered rules, the first that matches answers, the last matches everything.

```yaml
context_window: 32768            # what the server says its window is (default)
rules:
  - when: {model: small, mt: MT-001, attempt: 1, contains: "some text"}   # each key optional, all must hold
    behave: lie                  # lie | out_of_scope | give_up | hang | error_500 | partial
    delay_ms: 20                 # before the first byte
  - when: {mt: MT-002}
    reply: |                     # the reply itself; a list gives one text for each sample
      I would rather not.
  - solve: solution              # a folder beside the script: answer with its files and a correct claim
    usage: {prompt_tokens: 100, completion_tokens: 20}     # `none` leaves the usage out
```
`attempt` counts the calls for one micro-task and model, from 1. `behave: partial` beside `solve` gives the
edits and makes no claim.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from handshake.domain.errors import ConfigError
from handshake.domain.record import Record

Behaviour = Literal["lie", "out_of_scope", "give_up", "hang", "error_500", "partial"]


class When(Record):
    """What a call must be for its rule; a key left out always holds."""

    model: str | None = None
    mt: str | None = None
    contains: str | tuple[str, ...] = ()
    attempt: int | None = Field(default=None, ge=1)

    def holds(self, model: str, mt_id: str | None, attempt: int, prompt: str) -> bool:
        """Whether this call is meant."""
        wanted = (self.contains,) if isinstance(self.contains, str) else self.contains
        return (
            self.model in (None, model)
            and self.mt in (None, mt_id)
            and self.attempt in (None, attempt)
            and all(text in prompt for text in wanted)
        )

    @property
    def always(self) -> bool:
        """Whether every call is meant."""
        return self == When()


class ScriptedUsage(Record):
    """The token usage to report."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Rule(Record):
    """One rule."""

    when: When = Field(default_factory=When)
    reply: str | tuple[str, ...] | None = None
    solve: str | None = None
    behave: Behaviour | None = None
    delay_ms: int = Field(default=0, ge=0)
    usage: ScriptedUsage | Literal["none"] | None = None

    @model_validator(mode="after")
    def _answers_somehow(self) -> Rule:
        given = [name for name in ("reply", "solve", "behave") if getattr(self, name) is not None]
        if len(given) != 1 and not (given == ["solve", "behave"] and self.behave == "partial"):
            raise ValueError("a rule has exactly one of reply, solve, behave (or solve with behave: partial)")
        return self


class Script(Record):
    """The whole script; `folder` is where it lies."""

    rules: tuple[Rule, ...] = Field(min_length=1)
    context_window: int = Field(default=32768, ge=512)
    folder: str = "."

    @model_validator(mode="after")
    def _ends_with_default(self) -> Script:
        if not self.rules[-1].when.always:
            raise ValueError("the last rule must have no `when`: it is the default")
        return self

    def rule_for(self, model: str, mt_id: str | None, attempt: int, prompt: str) -> Rule:
        """The first rule that matches."""
        return next(rule for rule in self.rules if rule.when.holds(model, mt_id, attempt, prompt))


def load_script(path: Path) -> Script:
    """Read and check a script.

    Raises:
        ConfigError: it cannot be read, is no YAML, or has a wrong key or value; the sentence names it.
    """
    mend = "see the form in handshake/models/scripted/script.py"
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: a script is a mapping with `rules:`", next_step=mend)
        script = Script.model_validate({**data, "folder": str(path.resolve().parent)})
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{path}: cannot be read ({failure})", next_step="check `script` of its entry") from None
    except yaml.YAMLError as failure:
        raise ConfigError(f"{path}: not YAML ({failure})", next_step=mend) from None
    except ValidationError as failure:
        first = failure.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the script"
        raise ConfigError(f"{path}: {where}: {first['msg']}", next_step=mend) from None
    for rule in script.rules:
        if rule.solve is not None and not Path(script.folder, rule.solve).is_dir():
            raise ConfigError(f"{path}: solve: no folder {rule.solve!r} beside the script", next_step=mend)
    return script
