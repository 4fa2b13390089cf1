"""`potstill trace`: what is printed, exit codes, a sentence a fault, a check that is light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import bundles
import pytest
from click.testing import Result
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.watermark.keys import EpochKey, write_key


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["trace", *words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bundles.Trace:
    return bundles.finished(tmp_path_factory.mktemp("traces") / "one", marked=0.9)


def test_verify_says_what_holds_and_what_was_not_checked(made: bundles.Trace) -> None:
    result = invoke("verify", str(made.bundle))
    assert result.exit_code == 0, result.output
    assert "raw/watermark-text-0.jsonl: 10 records" in result.output
    assert "NOT CHECKED, scores of the marks" in result.output
    assert result.output.splitlines()[-1].startswith("what was checked holds. ")


def test_verify_with_the_key_makes_the_scores_again(made: bundles.Trace, tmp_path: Path) -> None:
    write_key(tmp_path / "k", bundles.KEY)
    result = invoke("verify", str(made.bundle), "--key", str(tmp_path / "k"), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["accused"] is True
    states = {check["what"]: check["state"] for check in found["checks"]}
    assert states["scores of watermark-text (2026-12)"] == "holds"


def test_a_tampered_record_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    made = bundles.finished(tmp_path / "one")
    path = made.bundle / "raw" / "watermark-text-0.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"index":4', b'"index":5'))
    result = invoke("verify", str(made.bundle))
    assert result.exit_code == 2
    (said,) = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert "record 4 of" in said and "Traceback" not in result.output


def test_the_key_of_another_epoch_is_exit_2(made: bundles.Trace, tmp_path: Path) -> None:
    write_key(tmp_path / "k", EpochKey("2026-11", bytes(32)))
    result = invoke("verify", str(made.bundle), "--key", str(tmp_path / "k"))
    assert result.exit_code == 2 and "key of another epoch" in result.output


@pytest.mark.parametrize("word", ["--epoch", "--texts"])
def test_what_goes_with_a_key_is_refused_without_one(made: bundles.Trace, word: str) -> None:
    result = invoke("verify", str(made.bundle), word, "x")
    assert result.exit_code == 2
    assert f"error: {word} says nothing without the key" in result.output


def test_certificates_that_are_none_are_refused(made: bundles.Trace, tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("hello")
    result = invoke("verify", str(made.bundle), "--authority", str(tmp_path / "a.pem"))
    assert result.exit_code == 2 and "a.pem holds no certificates" in result.output


def test_pages_that_were_written_anew_are_exit_2(tmp_path: Path) -> None:
    made = bundles.finished(tmp_path / "one", version=version("potstill"))
    (made.bundle / "notice.md").write_text("p = 1e-99")
    result = invoke("verify", str(made.bundle))
    assert result.exit_code == 2
    assert "error: notice.md does not say what verdict.json says" in result.output


def test_notice_prints_markdown_or_json(made: bundles.Trace) -> None:
    result = invoke("notice", str(made.bundle))
    assert result.exit_code == 0 and "## What is claimed" in result.output
    parts = json.loads(invoke("notice", str(made.bundle), "--json").output)["parts"]
    assert parts[0]["heading"] == "What is claimed"


@pytest.mark.parametrize("verb", ["run", "notice", "verify"])
def test_what_is_not_there_is_said(verb: str, tmp_path: Path) -> None:
    result = invoke(verb, str(tmp_path / "nothing"))
    assert result.exit_code == 2
    assert result.output.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nchain: c\n", "teacher.name is missing"),
        (
            "name: x\nchain: c\nteacher: {name: t, identity: i}\nsuspect: {name: s, model: m}\n"
            "tests: {watermark_txt: {}}\n",
            "line 5: unknown key tests.watermark_txt",
        ),
        (
            "name: x\nchain: c\nteacher: {name: t, identity: i}\nsuspect: {name: s, model: m}\n"
            "tests: {weights: {}}\n",
            "tests.weights needs the teacher's weights",
        ),
        (
            "name: x\nchain: c\nteacher: {name: t, model: m}\nsuspect: {name: s}\n"
            "tests: {weights: {}}\n",
            "suspect needs a model or texts",
        ),
        (
            "name: x\nchain: c\nteacher: {name: t, model: m}\nsuspect: {name: s, model: m}\n"
            "tests: {twins: {log: l}}\n",
            "tests.twins needs 3 or more models in controls",
        ),
        (
            "name: x\nchain: c\nteacher: {name: t, model: m}\nsuspect: {name: s, model: m}\n"
            "tests: {watermark_text: {}}\n",
            "watermark names none",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_key(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "trace.yaml").write_text(text)
    result = invoke("plan", str(tmp_path / "trace.yaml"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "out").exists()


def test_a_check_loads_neither_torch_nor_models(made: bundles.Trace) -> None:
    code = (
        "import sys; from potstill.cli.app import app\n"
        "try: app(['trace', 'verify', sys.argv[1]])\n"
        "except SystemExit as end: assert not end.code\n"
        "loaded = {'torch', 'transformers', 'pyarrow', 'httpx2'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(made.bundle)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from potstill.cli.app import app\n"
        "try: app(['trace', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'scipy', 'yaml'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
