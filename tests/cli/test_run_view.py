"""What `potstill show` reads: evaluations of older versions, of later ones, and damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.report.run.page import render

WRITTEN = sorted((Path(__file__).parents[1] / "work" / "written").glob("*.json"))


@pytest.mark.parametrize("written", WRITTEN, ids=lambda path: path.stem)
def test_a_run_that_an_older_version_wrote_is_shown(
    cli: CliRunner, make_run: Callable[..., Path], written: Path
) -> None:
    root = make_run(evaluated=True)
    (root / "evaluation.json").write_bytes(written.read_bytes())
    content = json.loads(written.read_text(encoding="utf-8"))
    shown = cli.invoke(app, ["show", str(root)])
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.output.split())
    assert f"On {content['held_out']['prompts']} prompts kept out of training it" in text
    assert f"collected: {content['collection']['exchanges']} exchanges" in text
    as_json = cli.invoke(app, ["show", str(root), "--json"])
    assert json.loads(as_json.stdout)["evaluation"] == content
    page = render(root, {}).read_text(encoding="utf-8")
    assert "<dt>Schema</dt><dd>potstill/evaluation/1<" in page
    assert "What was not measured" in page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"schema": "potstill/evaluation/9"}, "which this version of potstill does not read"),
        ({"schema": "potstill/evaluation/2"}, "run `potstill evaluate` again"),
        ([], "holds no evaluation; delete it and run `potstill evaluate` again"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(
    cli: CliRunner, make_run: Callable[..., Path], content: object, said: str
) -> None:
    root = make_run(evaluated=True)
    (root / "evaluation.json").write_text(json.dumps(content), encoding="utf-8")
    for options in ([], ["--json"]):
        shown = cli.invoke(app, ["show", str(root), *options])
        assert shown.exit_code == 2
        assert said in " ".join(shown.output.replace("│", "").split())
