"""The demo of a trace accuses the guilty student, and it alone; doing it again does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_runs import fingerprint
from potstill.cli.app import app
from potstill.trace.bundle import read_verdict


def demo(root: Path, *more: str) -> str:
    result = CliRunner().invoke(app, ["demo", "trace", "--out", str(root), *more])
    assert result.exit_code == 0, result.output
    return result.stdout


def check(root: Path, *more: str) -> None:
    said = demo(root, *more)
    found = {
        name: read_verdict(root / f"trace-{name}" / "bundle") for name in ("guilty", "innocent")
    }
    assert {name: verdict.accused for name, verdict in found.items()} == {
        "guilty": True,
        "innocent": False,
    }
    for name, verdict in found.items():
        outcomes = {claim.test: claim.outcome for claim in verdict.claims}
        # They are trained from somebody else's weights.
        assert outcomes["weights"] == "not found"
        reading = "found" if name == "guilty" else "not found"
        assert outcomes["watermark-reading"] == reading
        assert verdict.headline in said
        for page in ("report.html", "notice.html"):
            assert str(root / f"trace-{name}" / "bundle" / page) in said
    assert said.count("verified with the key") == 2
    before = fingerprint(root)
    again = demo(root, *more)
    assert fingerprint(root) == before
    assert again.partition("student-guilty: ")[2] == said.partition("student-guilty: ")[2]


@pytest.mark.slow
def test_the_quick_demo_ends_with_both_verdicts(tmp_path: Path) -> None:
    check(tmp_path / "demo", "--quick")


@pytest.mark.slow
def test_the_demo_ends_with_both_verdicts(tmp_path: Path) -> None:
    check(tmp_path / "demo")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--set", "seed=1"], "has no recipe that --set could change"),
        (["--fresh"], "never emptied"),
    ],
)
def test_options_of_a_distillation_are_refused(
    tmp_path: Path, option: list[str], said: str
) -> None:
    result = CliRunner().invoke(app, ["demo", "trace", "--out", str(tmp_path / "none"), *option])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_word_that_is_no_demo_is_refused() -> None:
    result = CliRunner().invoke(app, ["demo", "nothing"])
    assert result.exit_code == 2
    assert "nothing" in result.stderr and "trace" in result.stderr
