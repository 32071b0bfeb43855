"""`handshake sql`, `metrics` and `recorder rebuild`: questions over every run, and the store they are asked of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from handshake.cli.options import Json, note, write, write_json

if TYPE_CHECKING:
    from handshake.recorder.metrics import Metrics

group = typer.Typer(help="The flight recorder's store.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("sql")(sql)
    app.command("metrics")(metrics)
    app.add_typer(group, name="recorder")


def sql(
    context: typer.Context,
    query: str = typer.Argument(help="One SELECT over the views."),
    as_json: Json = False,
) -> None:
    """Ask the recorder in SQL; read-only. Example: handshake sql "SELECT status, count(*) FROM jobs GROUP BY 1" """
    from handshake.cli.recorded import open_store, tell_missing, write_table
    from handshake.recorder import queries

    table = queries.sql(open_store(context.obj), query)
    tell_missing(context.obj, table.missing)
    if as_json:
        rows = [[_json_value(value) for value in row] for row in table.rows]
        write_json({"columns": table.columns, "rows": rows, "missing": table.missing})
    else:
        write_table(table.columns, table.rows)


def _json_value(value: Any) -> Any:
    """A value of DuckDB's as JSON has it: numbers and texts as they are, all others as their text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value


def metrics(context: typer.Context, as_json: Json = False) -> None:
    """Figures over all runs, and what is out of bounds. Example: handshake metrics"""
    from handshake.cli.recorded import open_store, tell_missing
    from handshake.recorder.metrics import measure

    found = measure(open_store(context.obj))
    tell_missing(context.obj, found.missing)
    if as_json:
        write_json(found)
    else:
        _write_metrics(found)


_TABLES = (
    ("By day", "over_time"),
    ("Models", "models"),
    ("LoRA adapters", "loras"),
    ("Failure categories", "failure_categories"),
    ("Files of a micro-task and iterations", "complexity"),
    ("Task tags", "tags"),
)


def _write_metrics(found: Metrics) -> None:
    from handshake.cli.recorded import write_table

    write_table(("total", "value"), [(name.replace("_", " "), value) for name, value in found.totals.items()])
    for title, name in _TABLES:
        rows = getattr(found, name)
        if rows:
            write(f"\n{title}")
            write_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    write("\nInstruments")
    columns = ("name", "unit", "count", "p50", "p95", "max")
    write_table(columns, [(name, *(row[c] for c in columns[1:])) for name, row in found.instruments.items()])
    write("\nAlerts")
    for alert in found.alerts:
        write(f"  ! {alert.name} [{alert.subject}]: {alert.said}")
    if not found.alerts:
        write("  none")


@group.command("rebuild")
def rebuild(context: typer.Context, as_json: Json = False) -> None:
    """Make the store again from the journals of branches and clone. Example: handshake recorder rebuild"""
    from handshake.cli.recorded import open_store, tell_missing

    made = open_store(context.obj).rebuild()
    tell_missing(context.obj, made.missing)
    if as_json:
        write_json({"jobs": made.jobs, "events": made.events, "missing": made.missing})
    else:
        write(f"{made.events} events of {made.jobs} journals")
        note(context.obj, "handshake: no journal was changed")
