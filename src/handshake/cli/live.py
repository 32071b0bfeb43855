"""A run as it goes, on stderr: one line for each event that matters, a moving line for what takes a while."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from handshake.domain.events import Event

EXCERPT_LINES = 12


class LiveView:
    """Renders events as lines. On a terminal the last line shows what is being done, and since when."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False, name: str = "") -> None:
        self._quiet = quiet
        self._name = f"{name}  " if name else ""
        self._verbose = verbose
        self._tty = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._tty and not os.environ.get("NO_COLOR")
        self._status: Any = None
        self._began = time.monotonic()

    def event(self, event: Event) -> None:
        """Show the line of an event, if it has one."""
        line = line_of(event)
        if line is None or self._quiet:
            return
        self.stop()
        clock = f"{self._name}{time.strftime('%H:%M:%S')}"
        colour = _COLOURS.get(event.event_type) if self._colour else None
        if event.event_type == "FR-EVT-MT-012" and self._colour:
            colour = "32" if event.payload["passed"] else "33"
        sys.stderr.write(f"{clock}  \x1b[{colour}m{line}\x1b[0m\n" if colour else f"{clock}  {line}\n")
        sys.stderr.flush()

    def working(self, what: str) -> None:
        """Show what takes a while; only a terminal sees it move."""
        if self._quiet or not self._tty:
            return
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.stop()
        self._status = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._status.add_task(what, total=None)
        self._status.start()

    def said(self, who: str, text: str) -> None:
        """Show a prompt or reply in short: its last lines, where the task and the claim stand."""
        if self._quiet or not self._verbose:
            return
        self.stop()
        lines = [line for line in text.splitlines() if line.strip()]
        shown = (
            lines
            if len(lines) <= EXCERPT_LINES
            else [f"… {len(lines) - EXCERPT_LINES} lines", *lines[-EXCERPT_LINES:]]
        )
        dim, plain = ("\x1b[2m", "\x1b[0m") if self._colour else ("", "")
        sys.stderr.write(f"{dim}          {who}:{plain}\n")
        for line in shown:
            sys.stderr.write(f"{dim}          | {line[:110]}{plain}\n")
        sys.stderr.flush()

    def note(self, text: str) -> None:
        """Show a line that is no event."""
        if self._quiet:
            return
        self.stop()
        sys.stderr.write(f"{self._name}{time.strftime('%H:%M:%S')}  {text}\n")
        sys.stderr.flush()

    def stop(self) -> None:
        """Take the moving line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


_COLOURS = {
    "FR-EVT-MT-001": "1",
    "FR-EVT-MT-004": "32",
    "FR-EVT-MT-005": "35",
    "FR-EVT-MT-006": "31",
    "FR-EVT-MT-009": "1;32",
    "FR-EVT-MT-010": "1;31",
    "FR-EVT-MT-014": "36",
    "FR-EVT-SEC-VIOLATION": "1;31",
    "FR-EVT-WF-RECOVERY": "36",
}


def line_of(event: Event) -> str | None:
    """The event in a few words, or None where it says nothing to a person who watches."""
    p = event.payload
    mt = event.mt_id or ""
    at = f"{mt} iter {event.iteration}" if event.iteration else mt
    lines: dict[str, Any] = {
        "FR-EVT-MT-001": lambda: f"{event.wp_id}: {p['total_mts']} micro-tasks in {len(p['execution_waves'])} waves",
        "FR-EVT-MT-002": lambda: f"{at}: asking {p['model_id']} (level {p['escalation_level']})",
        "FR-EVT-006": lambda: (
            f"{at}: {p['token_usage']['prompt_tokens']} tokens in,"
            f" {p['token_usage']['completion_tokens']} out, {p['latency_ms'] / 1000:.1f} s"
        ),
        "FR-EVT-MT-011": lambda: f"{event.wp_id}: {p['reason']}",
        "FR-EVT-MT-012": lambda: f"{at}: {_verdict(p)}",
        "FR-EVT-MT-003": lambda: f"{at}: {_unjudged(p)}" if p["outcome"].get("validation_passed") is None else None,
        "FR-EVT-MT-004": lambda: f"{mt}: done, commit {p['commit'][:10]}",
        "FR-EVT-MT-005": lambda: f"{mt}: escalates from {p['from_model']} to {p['to_model']} ({p['reason']})",
        "FR-EVT-MT-006": lambda: f"{mt}: hard gate: {p['reason']}",
        "FR-EVT-MT-007": lambda: f"{mt}: waits at a pause point" if mt else f"{event.wp_id}: pauses, as asked",
        "FR-EVT-MT-008": lambda: f"decided by {p['decided_by']}: {p['decision']}",
        "FR-EVT-MT-009": lambda: f"{event.wp_id}: {p['outcome'].replace('_', ' ')}",
        "FR-EVT-MT-010": lambda: f"{event.wp_id}: failed: {p['reason']}",
        "FR-EVT-MT-014": lambda: f"{mt}: drops back to level {p['to_level']} ({p['reason']})",
        "FR-EVT-MT-015": lambda: f"{mt}: distillation candidate {p['status']}",
        "FR-EVT-MT-016": lambda: f"{mt}: skipped by {p['decided_by']}",
        "FR-EVT-MT-017": lambda: f"{at}: blocked: {p['reason']}",
        "FR-EVT-WF-RECOVERY": lambda: f"{event.wp_id}: recovered: {p['reason']}",
        "FR-EVT-SEC-VIOLATION": lambda: f"{p['guard']}: {p['file']}:{p['line']}: {p['pattern']}",
    }
    make = lines.get(event.event_type)
    said = make() if make else None
    return " ".join(said.split())[:200] if said else None


def _verdict(payload: dict[str, Any]) -> str:
    sample = f"sample {payload['sample'] + 1}: " if payload["sample"] else ""
    if payload["passed"]:
        return f"{sample}validated"
    return f"{sample}not true: {payload['reasons'][0] if payload['reasons'] else 'validation failed'}"


def _unjudged(payload: dict[str, Any]) -> str:
    said = payload["outcome"].get("error_summary") or "no completion claimed"
    return f"{said}; {payload['decision']['action']}"
