"""What must be equal between a run that was killed and one that was not: everything but times and made-up ids."""

from __future__ import annotations

import json
import re
from typing import Any

WP = "WP-1-Shop-Prices-v1"
BRANCH, TRACK = f"feat/{WP}", f"handshake/track/{WP}"

_MEASURED = {"event_id", "timestamp", "workflow_run_id", "duration_ms", "latency_ms"}
_MEASURED |= {"started_at", "completed_at", "created_at"}
_ID = re.compile(r"\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{40})\b")


def small_packet(text: str) -> str:
    """The demo's packet without the basket: two micro-tasks and the closing one, as fast as a run can be."""
    lines = [line for line in text.splitlines() if "basket" not in line]
    plan = "python -m unittest tests.test_pricing tests.test_stock"
    return "\n".join(lines).replace("python -m unittest discover -s tests -t .", plan) + "\n"


def tiny_packet(text: str) -> str:
    """The small packet without the stock: one micro-task and the closing one."""
    lines = [line for line in small_packet(text).splitlines() if "shop/stock" not in line]
    return "\n".join(lines).replace(" tests.test_stock", "") + "\n"


def end_state(shop: Any) -> dict[str, Any]:
    """The whole end state: both branches, the records, the events, the worktree."""
    progress, ledger = shop.on_track("progress_artifact.json"), shop.on_track("run_ledger.json")
    subjects = shop.git("log", "--reverse", "--format=%s", TRACK).splitlines()
    return {
        "tree": shop.tree(),
        "packet": _retold([shop.git("show", f"{BRANCH}:docs/task_packets/{WP}.md")]),
        "commits": shop.git("log", "--reverse", "--format=%s", f"main..{BRANCH}").splitlines(),
        "definitions": shop.on_track("mt_definitions.json")["definitions_hash"],
        "steps": [(s["step_id"], s["status"], s["idempotency_key"], s.get("error")) for s in ledger["steps"]],
        "progress": [
            (row["mt_id"], row["status"], len(row["iterations"]), row.get("final_model_level"))
            for row in progress["micro_tasks"]
        ],
        "status": progress["status"],
        "totals": {k: v for k, v in progress["aggregate_stats"].items() if k != "duration_ms"},
        "transitions": _without_repeats([s for s in subjects if not s.startswith("Recovered")]),
        "events": lasting_events(shop),
        "worktree": (
            shop.git("status", "--porcelain", at=shop.worktree),
            shop.git("rev-parse", "HEAD^{tree}", at=shop.worktree) == shop.git("rev-parse", f"{BRANCH}^{{tree}}"),
        ),
    }


def lasting_events(shop: Any) -> list[str]:
    """The journal on the branch, without recoveries and what is measured."""
    job = shop.git("ls-tree", "--name-only", f"{TRACK}:jobs").splitlines()[-1]
    chunks = shop.git("ls-tree", "--name-only", f"{TRACK}:jobs/{job}/events").splitlines()
    lines = "\n".join(shop.git("show", f"{TRACK}:jobs/{job}/events/{chunk}") for chunk in chunks).splitlines()
    rows = [json.loads(line) for line in lines]
    return _retold([json.dumps(_lasting(r)) for r in rows if r["event_type"] != "FR-EVT-WF-RECOVERY"])


def retold_json(value: Any) -> str:
    """A record without what is measured, its made-up ids by the order in which they come up."""
    return _retold([json.dumps(_lasting(value))])[0]


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in _MEASURED}
    return [_lasting(item) for item in value] if isinstance(value, list) else value


def _without_repeats(subjects: list[str]) -> list[str]:
    """A step that is asked for again after a recovery is announced again."""
    pairs = zip([None, *subjects], subjects, strict=False)
    return [subject for before, subject in pairs if subject != before]


def _retold(texts: list[str]) -> list[str]:
    """Ids by the order in which they come up."""
    names: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"<id {len(names)}>")

    return [_ID.sub(name, text) for text in texts]
