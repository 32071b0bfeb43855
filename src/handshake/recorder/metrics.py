"""Figures over all runs, and the alerts. Contract: `events.md`, Metrics.

A figure is a fold over the views; where there is nothing to count it is None, never a made-up zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handshake.domain.record import Record
from handshake.recorder.holdings import Missing
from handshake.recorder.store import EventStore

if TYPE_CHECKING:
    import duckdb


class Alert(Record):
    """A figure that is past its limit. `value` and `limit` have the unit of the figure; `of` is what was counted."""

    name: str
    subject: str
    value: float
    limit: float
    of: int
    said: str


class Metrics(Record):
    """All figures. Tables are lists of rows by name; durations in ms."""

    totals: dict[str, Any]
    over_time: tuple[dict[str, Any], ...]
    models: tuple[dict[str, Any], ...]
    loras: tuple[dict[str, Any], ...]
    failure_categories: tuple[dict[str, Any], ...]
    complexity: tuple[dict[str, Any], ...]
    tags: tuple[dict[str, Any], ...]
    instruments: dict[str, dict[str, Any]]
    alerts: tuple[Alert, ...]
    missing: tuple[Missing, ...]


_TABLES: Mapping[str, str] = {
    "over_time": """
        SELECT strftime(day, '%Y-%m-%d') AS day, coalesce(sum(iterations), 0)::BIGINT AS iterations,
            coalesce(sum(escalations), 0)::BIGINT AS escalations, sum(done)::BIGINT AS completed_mts,
            sum(ended)::BIGINT AS ended_mts, round(sum(done) / nullif(sum(ended), 0), 4) AS success_rate
        FROM (
            SELECT date_trunc('day', timestamp) AS day, count(*) AS iterations, NULL AS escalations, 0 AS done,
                0 AS ended FROM iterations GROUP BY 1
            UNION ALL
            SELECT date_trunc('day', timestamp), NULL, count(*), 0, 0 FROM escalations GROUP BY 1
            UNION ALL
            SELECT date_trunc('day', timestamp), NULL, NULL, count(*) FILTER (event_type = 'FR-EVT-MT-004'), count(*)
            FROM events WHERE event_type IN ('FR-EVT-MT-004', 'FR-EVT-MT-006', 'FR-EVT-MT-016') GROUP BY 1
        ) GROUP BY day ORDER BY day""",
    "models": """
        SELECT model_id, escalation_level AS level, count(*) AS iterations,
            count(*) FILTER (validation_passed) AS passed, count(*) FILTER (claimed_complete) AS claims,
            count(*) FILTER (claimed_complete AND NOT coalesce(validation_passed, false)) AS false_claims,
            sum(tokens_prompt)::BIGINT AS tokens_prompt, sum(tokens_completion)::BIGINT AS tokens_completion,
            round(sum(cost), 6) AS cost, round(median(duration_ms), 1) AS median_ms
        FROM iterations GROUP BY model_id, level ORDER BY level, model_id""",
    "loras": """
        SELECT lora_id, model_id, count(*) AS iterations,
            round(count(*) FILTER (validation_passed) / count(*), 4) AS success_rate,
            count(*) FILTER (claimed_complete) AS claims,
            count(*) FILTER (claimed_complete AND NOT coalesce(validation_passed, false)) AS false_claims,
            count(DISTINCT (job_id, mt_id)) AS micro_tasks
        FROM iterations WHERE lora_id IS NOT NULL GROUP BY lora_id, model_id ORDER BY lora_id, model_id""",
    "failure_categories": """
        SELECT failure_category AS category, count(*) AS iterations
        FROM iterations WHERE failure_category IS NOT NULL GROUP BY 1 ORDER BY iterations DESC, category""",
    "complexity": """
        SELECT files, count(*) AS micro_tasks, round(avg(token_budget), 0)::BIGINT AS mean_token_budget,
            round(avg(iterations), 2) AS mean_iterations, max(iterations) AS most_iterations
        FROM micro_tasks WHERE iterations > 0 GROUP BY files ORDER BY files""",
    "tags": """
        SELECT tag, count(*) AS micro_tasks, count(*) FILTER (completed) AS completed,
            round(count(*) FILTER (completed) / nullif(count(*) FILTER (completed OR skipped OR escalated), 0), 4)
                AS success_rate,
            round(count(*) FILTER (completed AND highest_level = 0) / nullif(count(*) FILTER (completed), 0), 4)
                AS success_rate_level_0, round(avg(iterations), 2) AS mean_iterations
        FROM (SELECT unnest(task_tags) AS tag, * FROM micro_tasks WHERE iterations > 0) GROUP BY tag ORDER BY tag""",
}

_INSTRUMENTS: Mapping[str, tuple[str, str]] = {
    "hsk.job.latency": ("ms", "SELECT latency_ms AS x FROM jobs WHERE latency_ms IS NOT NULL"),
    "hsk.job.tokens": ("tokens", "SELECT tokens_prompt + tokens_completion AS x FROM jobs"),
    "hsk.workflow.step_duration": ("ms", "SELECT duration_ms AS x FROM iterations"),
}

_TOTALS = """
    SELECT (SELECT count(*) FROM events) AS events,
        count(*) AS jobs, count(*) FILTER (ended_at IS NOT NULL) AS ended,
        count(*) FILTER (starts_with(status, 'completed')) AS completed,
        sum(iterations)::BIGINT AS iterations, sum(escalations)::BIGINT AS escalations,
        sum(hard_gates)::BIGINT AS hard_gates, sum(recoveries)::BIGINT AS recoveries,
        sum(tokens_prompt)::BIGINT AS tokens_prompt, sum(tokens_completion)::BIGINT AS tokens_completion,
        (SELECT round(sum(cost), 6) FROM iterations) AS cost, count(*) FILTER (hard_gates > 0) AS jobs_at_gates
    FROM jobs"""

_TRIED = """
    SELECT count(*) AS tried, count(*) FILTER (escalated) AS escalated, avg(iterations) AS iterations
    FROM (
        SELECT job_id, mt_id, count(*) AS iterations, bool_or(decision IN ('escalate', 'hard_gate')) AS escalated
        FROM iterations GROUP BY job_id, mt_id
    )"""

_TIMEOUTS = """
    SELECT count(*), count(*) FILTER (CAST(payload->>'$.timed_out' AS BOOLEAN))
    FROM events WHERE event_type = 'FR-EVT-001'"""

_RECOVERIES = """
    SELECT strftime(date_trunc('day', timestamp), '%Y-%m-%d') AS day, count(*) AS n
    FROM events WHERE event_type = 'FR-EVT-WF-RECOVERY' GROUP BY day HAVING n > 1 ORDER BY day"""


def measure(store: EventStore) -> Metrics:
    """All figures over what the store holds.

    Raises:
        InvalidEvent, RecorderFailed: a journal or the store cannot be read.
    """
    with store.opened() as opened:
        database = opened.database
        tables = {name: _rows(database, query) for name, query in _TABLES.items()}
        (totals,) = _rows(database, _TOTALS)
        totals = {name: value if name == "cost" else value or 0 for name, value in totals.items()}
        (tried,) = _rows(database, _TRIED)
        alerts = _alerts(database, totals, tried, tables["models"])
        ends = totals["ended"]
        return Metrics(
            totals={
                **totals,
                "micro_tasks_tried": tried["tried"],
                "iterations_per_mt": round(tried["iterations"], 2) if tried["tried"] else None,
                "success_rate": round(totals["completed"] / ends, 4) if ends else None,
            },
            instruments={name: _instrument(database, *how) for name, how in _INSTRUMENTS.items()},
            alerts=alerts,
            missing=opened.missing,
            **tables,
        )


def _rows(database: duckdb.DuckDBPyConnection, query: str) -> tuple[dict[str, Any], ...]:
    answer = database.execute(query)
    names = [str(column[0]) for column in answer.description or ()]
    return tuple(dict(zip(names, row, strict=True)) for row in answer.fetchall())


def _instrument(database: duckdb.DuckDBPyConnection, unit: str, values: str) -> dict[str, Any]:
    (row,) = _rows(
        database,
        "SELECT count(x) AS count, round(sum(x), 0)::BIGINT AS sum, median(x) AS p50, quantile_cont(x, 0.95) AS p95,"
        f" max(x) AS max FROM ({values})",
    )
    rounded = {name: round(value, 1) if isinstance(value, float) else value for name, value in row.items()}
    return {"unit": unit, **rounded}


@dataclass(frozen=True)
class _Share:
    """An alert that compares a share with a limit."""

    name: str
    limit: float
    what: str

    def of(self, part: int, whole: int, subject: str = "all") -> list[Alert]:
        """The alert, if the share is past the limit."""
        if not whole or part / whole <= self.limit:
            return []
        said = f"{part} of {whole} {self.what} ({part / whole:.0%}, limit {self.limit:.0%})"
        value = round(part / whole, 4)
        return [Alert(name=self.name, subject=subject, value=value, limit=self.limit, of=whole, said=said)]


FALSE_CLAIMS = _Share("false_completions", 0.30, "completion claims were not true")
ESCALATED = _Share("escalated_mts", 0.50, "micro-tasks escalated")
AT_GATES = _Share("hard_gates", 0.10, "jobs met a hard gate")
TIMEOUTS = _Share("validation_timeouts", 0.05, "commands ran out of time")
MOST_ITERATIONS = 3.0
MOST_RECOVERIES = 1


def _alerts(
    database: duckdb.DuckDBPyConnection,
    totals: dict[str, Any],
    tried: dict[str, Any],
    models: tuple[dict[str, Any], ...],
) -> tuple[Alert, ...]:
    found: list[Alert] = []
    by_model: dict[str, list[int]] = {}
    for row in models:
        sums = by_model.setdefault(row["model_id"], [0, 0])
        sums[0] += row["false_claims"]
        sums[1] += row["claims"]
    for model, (wrong, claims) in sorted(by_model.items()):
        found += FALSE_CLAIMS.of(wrong, claims, model)
    found += ESCALATED.of(tried["escalated"], tried["tried"])
    if tried["tried"] and tried["iterations"] > MOST_ITERATIONS:
        mean = round(tried["iterations"], 2)
        said = f"{mean} iterations a micro-task (limit {MOST_ITERATIONS})"
        found.append(_plain("iterations_per_mt", "all", mean, MOST_ITERATIONS, tried["tried"], said))
    found += AT_GATES.of(totals["jobs_at_gates"], totals["jobs"])
    commands, late = database.execute(_TIMEOUTS).fetchall()[0]
    found += TIMEOUTS.of(late, commands)
    for day, number in database.execute(_RECOVERIES).fetchall():
        said = f"{number} recoveries on {day} (limit {MOST_RECOVERIES} a day)"
        found.append(_plain("recoveries", day, number, MOST_RECOVERIES, number, said))
    return tuple(found)


def _plain(name: str, subject: str, value: float, limit: float, of: int, said: str) -> Alert:
    return Alert(name=name, subject=subject, value=value, limit=limit, of=of, said=said)
