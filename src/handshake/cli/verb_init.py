"""`handshake init`: what a repository needs to take packets; safe to repeat."""

from __future__ import annotations

from pathlib import Path

import typer

from handshake.cli.options import Globals, Json, open_repository, write, write_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("init")(init)


def init(context: typer.Context, as_json: Json = False) -> None:
    """Write configuration, packet folder, templates and hooks; keep what is there. Example: handshake init"""
    done = initialize(context.obj)
    if as_json:
        write_json({"steps": [{"what": what, "state": state} for what, state in done]})
        return
    for what, state in done:
        write(f"{state:<8} {what}")
    write("next:    handshake new WP-1-My-Task, fill it in and sign it, then: handshake daemon")


def initialize(options: Globals) -> list[tuple[str, str]]:
    """Do it, and say what was written, kept or skipped."""
    from handshake.cli.verb_hooks import warn_of_shared_hooks
    from handshake.config.shipped import shipped
    from handshake.gates.hooks import install_hooks

    repo = open_repository(options)
    root = repo.root
    done = [
        _write(root, ".handshake/config.yaml", _starting_config(repo.head_branch())),
        _write(root, ".handshake/.gitignore", "# local leftovers, never committed\n*.local.yaml\n*.tmp\n"),
        *(
            _write(root, f".handshake/templates/{name}", shipped("templates", name).read_text(encoding="utf-8"))
            for name in ("packet.md", "stub.md", "refinement.md")
        ),
        _write(root, "docs/task_packets/README.md", _PACKETS),
    ]
    done += install_hooks(repo)
    warn_of_shared_hooks(options, repo)
    return done


def _write(root: Path, path: str, text: str) -> tuple[str, str]:
    file = root / path
    if file.exists():
        return path, "kept"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
    return path, "wrote"


def _starting_config(branch: str | None) -> str:
    return f"""# Handshake's settings for this repository; `handshake config show --origin` prints them all.
version: 1
base_branch: {branch or "main"}
# The default chain asks Ollama for qwen2.5-coder 7b, 13b and 32b. To use what this machine has, name it here:
# models:
#   small: {{provider: openai, base_url: "http://127.0.0.1:11434/v1", model: "qwen2.5-coder:7b"}}
# policy:
#   escalation_chain:
#     - {{level: 0, model_id: small}}
#     - {{level: 1, model_id: HARD_GATE, is_hard_gate: true}}
"""


_PACKETS = """# Task packets

One signed work order a file, `WP-….md`. `handshake new WP-1-My-Task` makes one, `handshake check` reads it.
"""
