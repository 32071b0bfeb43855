"""The list of commands in groups a newcomer can read, one line each."""

from __future__ import annotations

import inspect

import typer

PANELS: dict[str, str] = {
    "Start here": "init doctor demo",
    "Packets": "new check packet plan",
    "Runs": "run daemon status decide pause cancel recover clean",
    "What happened": "show diff log report replay events jobs metrics sql recorder",
    "Gates and hooks": "hooks hook gate-check pre-work post-work manifest cor701-sha ci validate",
    "Governance": "refine sign activate review board registry",
    "Models and learning": "model calibrate distill skills",
    "This machine": "config trust engines",
}


def arrange(app: typer.Typer) -> None:
    """Give each command its group and, in the list, its first sentence without the example.

    Raises:
        KeyError: a command has no group.
    """
    groups = {name: (number, panel) for number, (panel, names) in enumerate(PANELS.items()) for name in names.split()}
    orders = {name: number for number, name in enumerate(" ".join(PANELS.values()).split())}
    for command in app.registered_commands:
        assert command.name is not None
        assert command.callback is not None
        command.rich_help_panel = groups[command.name][1]
        command.short_help = (inspect.getdoc(command.callback) or "").partition(" Example:")[0].replace("\n", " ")
    for group in app.registered_groups:
        assert isinstance(group.name, str)
        group.rich_help_panel = groups[group.name][1]
    app.registered_commands.sort(key=lambda command: orders[command.name or ""])
    app.registered_groups.sort(key=lambda group: orders[str(group.name)])
