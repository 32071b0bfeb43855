"""One value of a configuration file changes, and nothing else does."""

from __future__ import annotations

import pytest

from handshake.config.yaml_edit import set_entry_key, set_item_key
from handshake.domain.errors import ConfigError

BLOCK = """# mine
loras:
  - id: a   # the first
    served_as: x
    weak_on_task_types: [rust]  # since spring
  - id: b
    weak_on_task_types:
      - go
      - rust
    served_as: y

sandbox: auto
"""


def edited(text, item="b", key="weak_on_task_types", value=("python",)):
    return set_item_key(text, "config.yaml", ("loras", "id", item), key, list(value))


@pytest.mark.parametrize(
    ("text", "item", "before", "after"),
    [
        (BLOCK, "a", "[rust]  #", '["python"]  #'),
        (BLOCK, "b", "weak_on_task_types:\n      - go\n      - rust\n", 'weak_on_task_types: ["python"]\n'),
        (
            "loras: [{id: a, served_as: x}, {id: b, served_as: y}]  # flow\n",
            "b",
            "served_as: y",
            'served_as: y, weak_on_task_types: ["python"]',
        ),
        (
            "loras:\n- id: b\n  served_as: y   # last\nversion: 1\n",
            "b",
            "# last\n",
            '# last\n  weak_on_task_types: ["python"]\n',
        ),
        ("loras:\n  - id: b", "b", "id: b", 'id: b\n    weak_on_task_types: ["python"]'),
        (
            "loras:\r\n  - id: b\r\nversion: 1\r\n",
            "b",
            "id: b\r\n",
            'id: b\r\n    weak_on_task_types: ["python"]\r\n',
        ),
        ("loras:\n  - id: b\n    weak_on_task_types:\n", "b", "types:\n", 'types: ["python"]\n'),
    ],
)
def test_only_the_value_changes(text, item, before, after):
    assert text.count(before) == 1
    assert edited(text, item) == text.replace(before, after)


def test_an_item_that_is_not_there_is_an_error_with_the_file():
    for text in (BLOCK, "version: 1\n", "loras: []\n", ""):
        with pytest.raises(ConfigError, match=r"config\.yaml: loras has no id c"):
            edited(text, "c")


def test_the_last_value_may_be_a_block_of_text():
    text = "loras:\n  - id: b\n    version: |\n      one\nversion: 1\n"
    assert edited(text) == text.replace("one\n", 'one\n    weak_on_task_types: ["python"]\n')


def test_what_the_reader_refuses_is_not_edited():
    with pytest.raises(ConfigError, match="alias"):
        edited("loras:\n  - &a {id: b}\n  - *a\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'models:\n  m: {edit_forms: ["whole"]}\n'),
        ("version: 1", 'version: 1\nmodels:\n  m: {edit_forms: ["whole"]}\n'),
        ("models:\n  m: {model: x}  # mine\n", 'models:\n  m: {model: x, edit_forms: ["whole"]}  # mine\n'),
        (
            "models:\n  m:\n    model: x\npaths: {}\n",
            'models:\n  m:\n    model: x\n    edit_forms: ["whole"]\npaths: {}\n',
        ),
        ("models:\n  n: {model: x}\n# end\n", 'models:\n  n: {model: x}\n  m: {edit_forms: ["whole"]}\n# end\n'),
        ("models: {n: {model: x}}\n", 'models: {n: {model: x}, m: {edit_forms: ["whole"]}}\n'),
        (
            "models:\n  m:\n    edit_forms: [whole, search_replace]\n",
            'models:\n  m:\n    edit_forms: ["whole"]\n',
        ),
    ],
)
def test_a_key_of_an_entry_is_set_and_the_rest_stays(before: str, after: str) -> None:
    assert set_entry_key(before, "config.yaml", ("models", "m"), "edit_forms", ["whole"]) == after


def test_a_name_that_is_no_plain_word_is_quoted() -> None:
    edited = set_entry_key("version: 1\n", "config.yaml", ("models", "coder:7b"), "edit_forms", ["whole"])
    assert '"coder:7b": {edit_forms: ["whole"]}' in edited


@pytest.mark.parametrize("text", ["models: {}\n", "models:\n  m: {}\n", "models:\n  m:\n"])
def test_an_entry_that_cannot_be_edited_is_said_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        set_entry_key(text, "config.yaml", ("models", "m"), "edit_forms", ["whole"])
    assert refused.value.next_step == 'set edit_forms: ["whole"] there by hand'
