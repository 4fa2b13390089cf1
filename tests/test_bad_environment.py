"""What a machine refuses (places, permissions, disks, output) is one sentence and exit code 2."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import pipeline_runs
from potstill import durable
from potstill.cli.app import app
from potstill.cli.common import checked_recipe
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load_tokenizer
from potstill.recipe import Recipe
from potstill.recipe.io import read_recipe
from potstill.shrink.vocabulary import trimmed_tokenizer
from potstill.work.rundir import RunDir

Refused = Callable[..., str]


@pytest.fixture
def refused(nano_llama: Path, nano_prompts: Path, tmp_path: Path) -> Refused:
    """Return a function that distils into a directory and returns the one sentence."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(pipeline_runs.recipe_values(nano_llama, nano_prompts)))

    def run(out: Path | str, *more: str, recipe: Path = recipe) -> str:
        result = CliRunner().invoke(
            app, ["distill", str(recipe), "--out", str(out), "--quiet", *more]
        )
        assert result.exit_code == 2, (result.output, result.exception)
        assert len(result.output.splitlines()) == 1
        assert result.output.startswith("error: ")
        assert "Error" not in result.output
        return result.output

    return run


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("recipe.yaml", "is a file, not a directory; choose another directory with --out"),
        ("recipe.yaml/run", "recipe.yaml is a file, not a directory; choose another"),
        ("x" * 300, "longer than the file system takes"),
        ("folder", "is not empty and not a run directory of potstill; choose another"),
        ("link", "link"),
    ],
)
def test_a_run_directory_that_can_be_none(
    out: str, words: str, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    assert words in refused(tmp_path / out)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a place that no user may write")
@pytest.mark.parametrize("out", ["/proc/run", "/proc/self/run", "/proc/sys/run"])
def test_a_run_directory_that_nobody_may_write(out: str, refused: Refused) -> None:
    assert f"cannot write to {out}" in refused(out)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EMFILE, errno.ENOSPC])
def test_what_the_system_refuses_in_the_middle(
    number: int, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "some-file"))

    monkeypatch.setattr(ExchangeStore, "ids", refusing)
    said = refused(tmp_path / "run")
    assert "some-file cannot be used: " in said
    assert str(durable.os_reason(OSError(number, ""))) in said


def test_another_failure_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nano_llama: Path, nano_prompts: Path
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError(errno.EILSEQ, "no sentence for this")

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(pipeline_runs.recipe_values(nano_llama, nano_prompts)))
    monkeypatch.setattr(ExchangeStore, "ids", broken)
    result = CliRunner().invoke(app, ["distill", str(recipe), "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, OSError)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "is a directory; give the recipe's YAML file"),
        ("none.yaml", "none.yaml does not exist; check the path"),
        ("dangling.yaml", "dangling.yaml is a link to what is not there; check the path"),
        ("own.yaml", "cannot be read (its path is a link to itself); check the path"),
        ("recipe.yaml/x", "a part of its path is a file and no folder"),
    ],
)
def test_a_recipe_that_cannot_be_read(
    name: str, words: str, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "gone")
    (tmp_path / "own.yaml").symlink_to(tmp_path / "own.yaml")
    assert words in refused(tmp_path / "run", recipe=tmp_path / name)


def test_files_that_may_not_be_read(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever runs as root may read everything: the system is asked, and here it says no.
    closed = tmp_path / "closed.jsonl"
    closed.write_text('{"prompt": "Hi"}')
    allowed = os.access

    def access(path: Any, mode: int, **more: Any) -> bool:
        return Path(path) != closed and allowed(path, mode, **more)

    monkeypatch.setattr(durable.os, "access", access)
    for name in ("prompts.source", "prompts.held_out", "task={kind: json, json_schema: "):
        override = f"{name}{closed}}}" if name.startswith("task") else f"{name}={closed}"
        said = refused(tmp_path / "run", "--set", override)
        assert "closed.jsonl cannot be read (permission denied); check" in said
    with pytest.raises(
        PotstillError, match=r"cannot be read \(permission denied\); check the path"
    ):
        read_recipe(closed)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a place that no user may write")
@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ("/proc/cache", "a part of its path is not there"),
        ("{place}/recipe.yaml", "a part of its path is a file and no folder"),
        ("{place}/" + "x" * 300, "its name is longer than the file system takes"),
    ],
)
def test_a_cache_that_cannot_be_written(
    cache: str, words: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is to be converted into the cache before anything of it is read.
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
    licence = b"general.license", b"apache-2.0"
    text = struct.pack("<Q15sIQ10s", 15, licence[0], 8, 10, licence[1])
    (tmp_path / "m.gguf").write_bytes(head + text)
    monkeypatch.setenv("XDG_CACHE_HOME", cache.replace("{place}", str(tmp_path)))
    said = refused(tmp_path / "run", "--set", f"teacher.model={tmp_path}/m.gguf")
    assert words in said
    assert "set XDG_CACHE_HOME to a folder that you may write" in said


@pytest.mark.parametrize("fault", ["none", "full", "closed"])
def test_temporary_folders_that_cannot_be_used(
    fault: str, nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(nano_llama)
    if fault == "none":

        def nowhere() -> str:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in []")

        monkeypatch.setattr(tempfile, "gettempdir", nowhere)
        words = "no folder for temporary files can be written; set TMPDIR to one that can"
    else:
        number = errno.ENOSPC if fault == "full" else errno.EACCES

        def unwritable(*_: Any, **__: Any) -> str:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(tempfile, "mkdtemp", unwritable)
        full = "the disk is full or a size limit is reached; free some space"
        words = full if fault == "full" else "permission denied; set TMPDIR to a folder that"
    with pytest.raises(PotstillError, match=words):
        trimmed_tokenizer(tokenizer, list(range(len(tokenizer))))


LETTERS = (
    "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e \N{GRINNING FACE}"
)


@pytest.fixture
def potstill(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return a function that runs `potstill` in a process of its own."""

    def run(*arguments: str, **changes: Any) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, **changes.pop("environment", {})}
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **changes}
        command = [sys.executable, "-m", "potstill", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, check=False, **options)

    return run


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
def test_output_that_cannot_show_every_letter(
    encoding: str, potstill: Callable[..., Any], tmp_path: Path
) -> None:
    values = {"name": "mine", "teacher": {"model": "a/b"}, "prompts": {"system": LETTERS}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), "utf-8")
    environment = {"PYTHONIOENCODING": encoding}
    printed = potstill("recipe", "r.yaml", environment=environment)
    assert printed.returncode == 0, printed.stderr
    # What is printed is a recipe again, none of its letters lost.
    (tmp_path / "again.yaml").write_bytes(printed.stdout)
    assert yaml.safe_load((tmp_path / "again.yaml").read_text("utf-8"))["prompts"]["system"] == (
        LETTERS
    )
    schema = potstill("recipe", "--schema", environment=environment)
    assert json.loads(schema.stdout)["title"] == "Recipe"
    missing = potstill("recipe", f"{LETTERS}.yaml", environment=environment)
    assert missing.returncode == 2
    assert b"does not exist" in missing.stderr
    assert b"Traceback" not in missing.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_has_no_room(potstill: Callable[..., Any]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = potstill("recipe", "--schema", stdout=full)
    assert done.returncode == 2
    assert b"the disk is full" in done.stderr
    assert b"Traceback" not in done.stderr


def test_output_that_nobody_reads_any_more(potstill: Callable[..., Any]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = potstill("recipe", "--schema", stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode != 0
    assert done.stderr == b""


MISSING = [
    "teacher.model={place}/none",
    "teacher.model={place}/none.gguf",
    "teacher.model=package:no-such-potstill",
    "prompts.source={place}/none.jsonl",
    "prompts.held_out={place}/none.jsonl",
    "student.model={place}/none",
    "curate.judge.model={place}/none",
    "curate.decontaminate.sources=[{place}/none.jsonl]",
    "task={kind: json, json_schema: {place}/none.json}",
    "teacher.terms.authorisation={place}/none.txt",
]


def test_what_is_missing_is_named_before_anything_heavy_is_imported(
    potstill: Callable[..., Any], nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    values["shrink"]["drop_layers"] = 0
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values))
    cases = [text.replace("{place}", str(tmp_path)) for text in MISSING]
    code = (
        "import json, sys\n"
        "from typer.testing import CliRunner\n"
        "from potstill.cli.app import app\n"
        "for verb in ('distill', 'collect', 'train', 'evaluate'):\n"
        "    for case in json.loads(sys.argv[1]):\n"
        "        done = CliRunner().invoke(app, [verb, 'r.yaml', '--set', case])\n"
        "        named = 'none' in done.output or 'no-such-potstill' in done.output\n"
        "        assert done.exit_code == 2 and named, (case, done.output, done.exception)\n"
        "        heavy = {'torch', 'transformers', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "        assert not heavy, (case, heavy)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(cases)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_that_has_its_answers_needs_no_prompts_any_more(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    """A light look at what is named is for those who have to read it."""
    values = pipeline_runs.recipe_values(nano_llama, tmp_path / "gone.jsonl")
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(PotstillError, match=r"gone\.jsonl does not exist"):
        checked_recipe(tmp_path / "r.yaml", [], tmp_path / "run")
    with RunDir.open(tmp_path / "run", Recipe.model_validate(values)) as run:
        run.write_json("state/collect.json", {"exchanges": 3})
    assert checked_recipe(tmp_path / "r.yaml", [], tmp_path / "run").name == "nano"
    with pytest.raises(PotstillError, match=r"gone\.jsonl does not exist"):
        checked_recipe(tmp_path / "r.yaml", [], tmp_path / "run", fresh=True)
