"""Choosing a LoRA by task tags. Contract: `models.md`, LoRA choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from handshake.domain.errors import ConfigError
from handshake.domain.policy import EscalationLevel, LoraSelector
from handshake.domain.settings import LoraConfig

_FRESH = timedelta(days=7)
_GOOD_PASS_RATE = 0.7


@dataclass(frozen=True)
class LoraChoice:
    """The adapter chosen (None: the bare model), by which selector, and every candidate's score."""

    lora: LoraConfig | None
    selector: LoraSelector
    scores: dict[str, float] = field(default_factory=dict)


def score_lora(lora: LoraConfig, task_tags: Sequence[str], now: datetime) -> float:
    """How well an adapter fits the tags: +1 trained, +0.5 special, -0.5 weak, +0.2 fresh, +0.3 good.

    Raises:
        ConfigError: `last_trained_at` is not a date.
    """
    score = 0.0
    for tag in dict.fromkeys(task_tags):
        score += 1.0 if tag in lora.trained_on_task_types else 0.0
        score += 0.5 if tag in lora.specialization else 0.0
        score -= 0.5 if tag in lora.weak_on_task_types else 0.0
    trained_at = _trained_at(lora)
    if trained_at is not None and timedelta(0) <= now - trained_at <= _FRESH:
        score += 0.2
    if lora.eval_metrics.get("pass_at_1", 0.0) > _GOOD_PASS_RATE:
        score += 0.3
    return round(score, 6)


def choose_lora(
    level: EscalationLevel,
    loras: Sequence[LoraConfig],
    base_model: str,
    task_tags: Sequence[str],
    used_before: tuple[str, ...],
    now: datetime,
) -> LoraChoice:
    """The adapter for one attempt at `level`. `used_before` are the ids used in the previous attempt, newest last.

    Raises:
        ConfigError: an explicit adapter is not configured for this base model, or a date is wrong.
    """
    mine = {lora.id: lora for lora in loras if lora.base_model == base_model}
    scores = {lora_id: score_lora(mine[lora_id], task_tags, now) for lora_id in sorted(mine)}
    selector = level.lora_selector
    chosen: LoraConfig | None = None
    if selector == "explicit":
        chosen = mine.get(level.lora_id or "")
        if chosen is None:
            raise ConfigError(
                f"level {level.level} of escalation_chain names LoRA {level.lora_id!r}, "
                f"which `loras:` does not offer for base model {base_model!r}",
                next_step="add it under `loras:` in .handshake/config.yaml or change the level",
            )
    elif selector == "auto":
        best = _best(scores)
        chosen = mine[best] if best is not None and scores[best] > 0 else None
    elif selector == "alternate":
        fresh = _best({lora_id: score for lora_id, score in scores.items() if lora_id not in used_before})
        previous = next((lora_id for lora_id in reversed(used_before) if lora_id in mine), None)
        chosen = mine.get(fresh or previous or "")
    return LoraChoice(lora=chosen, selector=selector, scores=scores)


def trained_since(loras: Sequence[LoraConfig], base_model: str, task_tags: Sequence[str], since: datetime) -> bool:
    """Whether an adapter of that base model was trained on one of the tags after `since`.

    Raises:
        ConfigError: a date is wrong.
    """
    own = [
        lora for lora in loras if lora.base_model == base_model and set(lora.trained_on_task_types) & set(task_tags)
    ]
    return any((moment := _trained_at(lora)) is not None and moment > since for lora in own)


def _best(scores: dict[str, float]) -> str | None:
    """The id of the best score; ties by id."""
    return min(scores, key=lambda lora_id: (-scores[lora_id], lora_id), default=None)


def _trained_at(lora: LoraConfig) -> datetime | None:
    if lora.last_trained_at is None:
        return None
    try:
        moment = datetime.fromisoformat(lora.last_trained_at)
    except ValueError:
        raise ConfigError(
            f"LoRA {lora.id!r}: last_trained_at {lora.last_trained_at!r} is not a date",
            next_step="write it as 2026-01-31 or 2026-01-31T12:00:00Z",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
