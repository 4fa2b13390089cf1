"""The page on watermarks: its commands have the options they show, its JSON is what is read."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from potstill.cli.app import app
from potstill.watermark.vllm import NAMES, VllmConfig

PAGE = (Path(__file__).parents[2] / "docs/how-to/watermark.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("potstill")]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_have_the_options_that_are_shown(line: str) -> None:
    _, group, verb, *arguments = shlex.split(line)
    command = get_command(app).commands[group].commands[verb]  # type: ignore[attr-defined]
    context = command.make_context(verb, arguments)
    assert context.params


def test_the_configuration_that_is_shown_is_read() -> None:
    shown = re.findall(r"--watermark-config '(\{.*?\})'", PAGE)
    assert shown
    for content in shown:
        assert VllmConfig.model_validate(json.loads(content)).algorithm == "gumbel"


def test_every_scheme_stands_with_vllm_s_name_of_it() -> None:
    for name, algorithm in NAMES.items():
        assert f"| `{name}` | `{algorithm}` |" in PAGE
    for field, value in {
        "context_width": 4,
        "alpha": 0.1,
        "sbw_gamma": 0.5,
        "sbw_delta": 2,
    }.items():
        assert f"`{field}` ({value})" in PAGE
        assert VllmConfig.model_fields[field].default == value
