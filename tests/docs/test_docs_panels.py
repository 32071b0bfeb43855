"""The list that `handshake --help` prints: each command stands in one group, in one line."""

from __future__ import annotations

from handshake.cli.main import app
from handshake.cli.panels import PANELS


def test_each_command_has_its_group_and_no_group_a_command_that_is_not_there():
    names = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    assert sorted(" ".join(PANELS.values()).split()) == sorted(map(str, names))


def test_the_list_gives_a_sentence_without_the_example():
    said = [command.short_help or "" for command in app.registered_commands]
    assert all(text and "Example" not in text for text in said)
