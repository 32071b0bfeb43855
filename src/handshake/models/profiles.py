"""Profiles: what a size of model is asked for and how. Data. Contract: `models.md`, Profiles."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from handshake.domain.errors import ConfigError
from handshake.domain.modelcall import Sampling
from handshake.domain.record import Record
from handshake.domain.settings import ModelConfig

EditForm = Literal["whole", "search_replace"]


class Profile(Record):
    """One profile. `template` is a folder of prompt templates; `files_per_mt` None means the contract's limits.

    `whole_file_lines` is the file length up to which the whole-file form is offered.
    """

    name: Literal["tiny", "small", "standard"]
    template: str
    edit_forms: tuple[EditForm, ...]
    temperature: float
    top_p: float = 0.95
    samples: int
    max_output_tokens: int
    files_per_mt: int | None = None
    grammar: bool
    whole_file_lines: int = 200


PROFILES: dict[str, Profile] = {
    # below 3B: search/replace and JSON forms fail more often than they help; four tries make up for luck
    "tiny": Profile(
        name="tiny",
        template="tiny",
        edit_forms=("whole",),
        temperature=0.7,
        samples=4,
        max_output_tokens=1024,
        files_per_mt=1,
        grammar=True,
        whole_file_lines=400,
    ),
    "small": Profile(
        name="small",
        template="small",
        edit_forms=("whole", "search_replace"),
        temperature=0.2,
        samples=1,
        max_output_tokens=3072,
        grammar=False,
    ),
    "standard": Profile(
        name="standard",
        template="standard",
        edit_forms=("whole", "search_replace"),
        temperature=0.2,
        samples=1,
        max_output_tokens=4096,
        grammar=False,
    ),
}


# "0.5b", ":7b", "-13B-Instruct", "270m"; not the 8 x 7 of a mixture, nor a figure within a word
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
_TINY_BELOW, _SMALL_UP_TO = 3.0, 13.0  # thousands of millions of parameters


def profile_of(config: ModelConfig, model_id: str = "") -> Profile:
    """The entry's profile; where it names none, the one for the size that the model's name tells.

    A name that tells none is `standard`, but `tiny` for an embedded model: it runs on the processor.
    """
    if config.profile is not None:
        return profile_named(config.profile)
    name = config.model or (PurePath(config.file).name if config.file else model_id)
    size = _SIZE.search(name)
    if size is None:
        return PROFILES["tiny" if config.provider == "embedded" else "standard"]
    billions = float(size[1]) / (1000 if size[2] in "mM" else 1)
    return PROFILES["tiny" if billions < _TINY_BELOW else "small" if billions <= _SMALL_UP_TO else "standard"]


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in PROFILES:
        raise ConfigError(f"profile {name!r} is not known", next_step=f"use one of: {', '.join(PROFILES)}")
    return PROFILES[name]


def sampling_for(config: ModelConfig, *, grammar: str | None = None, seed: int | None = None) -> Sampling:
    """How replies are drawn: the profile's values where the model's entry says nothing.

    `grammar` is used if the entry (or else its profile) wants one; `seed` where the entry has none.
    """
    profile = profile_of(config)
    wants_grammar = profile.grammar if config.grammar is None else config.grammar
    return Sampling(
        temperature=profile.temperature if config.temperature is None else config.temperature,
        top_p=profile.top_p,
        seed=seed if config.seed is None else config.seed,
        max_output_tokens=config.max_output_tokens or profile.max_output_tokens,
        samples=config.samples or profile.samples,
        grammar=grammar if wants_grammar else None,
    )
