"""How often the demo's tasks pass: the whole `handshake demo`, once for each seed.

    python bench/demo_rate.py [--seeds N] [--model NAME] [--json]

Each run is the real command on the real embedded model. Printed for each: how the run ended, the iterations
and escalations it took, and its seconds; then the rates. Wall times depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WP_ID = "WP-1-Shop-Prices-v1"


def run_demo(seed: int, model: str, folder: Path) -> dict[str, Any]:
    """One demo; the figures of its job."""
    place = folder / f"seed-{seed}"
    command = [sys.executable, "-m", "handshake"]
    began = time.monotonic()
    options = ["demo", "--seed", str(seed), "--model", model, "--dir", str(place)]
    done = subprocess.run([*command, "-q", *options], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    status = subprocess.run(
        [*command, "-C", str(place), "status", WP_ID, "--json"], capture_output=True, text=True, check=False
    )
    run = json.loads(status.stdout)["runs"][0]
    asked = [mt for mt in run["micro_tasks"] if mt["iterations"]]
    return {
        "seed": seed,
        "exit": done.returncode,
        "status": run["status"],
        "iterations": run["iterations"],
        "first_try": sum(mt["iterations"] == 1 and mt["status"] == "completed" for mt in asked),
        "tasks": len(asked),
        "seconds": round(seconds),
    }


def main() -> int:
    """Run the demos and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="handshake-demo-rate-") as folder:
        for seed in range(options.seeds):
            rows.append(run_demo(seed, options.model, Path(folder)))
            if not options.json:
                print("  ".join(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
    passed = sum(row["exit"] == 0 for row in rows)
    tasks, first = sum(row["tasks"] for row in rows), sum(row["first_try"] for row in rows)
    if options.json:
        print(json.dumps({"model": options.model, "runs": rows, "passed": passed}))
    else:
        print(
            f"{options.model}: {passed} of {len(rows)} demos passed; {first} of {tasks} tasks at the first iteration"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
