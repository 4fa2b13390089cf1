"""potstill as a library: what a call takes, keeps, refuses and gives back."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nano_text
import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

import potstill
from fault_server import Behaviour, FaultServer
from pipeline_runs import fingerprint
from potstill.recipe import Recipe, TrainConfig
from potstill.recipe.io import dump_recipe

TEXTS = nano_text.prompts()[:40]
SMALL: dict[str, Any] = {
    "precision": "fp32",
    "prompts": {"held_out_count": 6, "validation_count": 3},
    "collect": {"max_tokens": 12},
    "shrink": {"blocks": [2], "calibration_tokens": 600},
    "evaluate": {"max_tokens": 12, "resamples": 200, "speed_tokens": 2, "sample_pairs": 1},
}


def loaded(directory: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def network(nano_llama: Path) -> tuple[Any, Any]:
    return loaded(nano_llama)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(potstill.PotstillError) as caught:
        potstill.distill(*args, **options)
    return str(caught.value)


@pytest.fixture(scope="module")
def finished(network: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> potstill.Run:
    root = tmp_path_factory.mktemp("library") / "first"
    return potstill.distill(SMALL, root, teacher=network, prompts=TEXTS, terms="apache-2.0")


def test_the_same_call_returns_a_finished_run_and_writes_nothing(
    finished: potstill.Run, network: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(finished.root.parent)
    # From wherever it is made.
    monkeypatch.chdir(finished.root.parent)
    again = potstill.distill(SMALL, "first", teacher=network, prompts=TEXTS, terms="apache-2.0")
    assert again.root.absolute() == finished.root
    assert fingerprint(finished.root.parent) == before
    assert finished.recipe.name == "first"


def test_another_network_is_refused_before_anything_is_written(
    finished: potstill.Run, network: tuple[Any, Any], nano_qwen3: Path
) -> None:
    before = fingerprint(finished.root.parent)
    text = refused(
        SMALL, finished.root, teacher=loaded(nano_qwen3), prompts=TEXTS, terms="apache-2.0"
    )
    assert "was made by another recipe, and its answers with it: teacher.model is" in text
    assert text.endswith("another directory with out, or fresh=True to start over in this one")
    changed, tokenizer = network[0], network[1]
    weight = changed.get_input_embeddings().weight
    was = weight.detach().clone()
    with torch.no_grad():
        weight[5, 5] += 1
    try:
        same = {"teacher": (changed, tokenizer), "prompts": TEXTS, "terms": "apache-2.0"}
        assert "teacher.model is" in refused(SMALL, finished.root, **same)
    finally:
        with torch.no_grad():
            weight.copy_(was)
    assert fingerprint(finished.root.parent) == before


def test_what_was_handed_in_stays_as_it_is(here: Path, nano_llama: Path) -> None:
    network, tokenizer = loaded(nano_llama)
    network = network.to(torch.bfloat16).train()
    network.generation_config.temperature = 0.5
    network.generation_config.do_sample = True
    network.config.architectures = None
    next(network.parameters()).requires_grad_(False)
    tokenizer.padding_side = "left"

    def state() -> list[Any]:
        configs = [dict(vars(network.config)), dict(vars(network.generation_config))]
        said = [tokenizer.init_kwargs, tokenizer.padding_side, tokenizer.chat_template]
        flags = [(p.requires_grad, p.dtype, p.device) for p in network.parameters()]
        return [network.training, *configs, *map(repr, said), flags, tokenizer("Hi").input_ids]

    before, weights = state(), [p.clone() for p in network.parameters()]
    for _ in range(2):
        potstill.distill(
            SMALL, "a", teacher=(network, tokenizer), prompts=TEXTS, terms="mit", until="collect"
        )
    assert state() == before
    assert all(map(torch.equal, weights, network.parameters()))
    assert len(list(Path("a-given").iterdir())) == 2


def test_a_network_that_nobody_else_holds_is_freed(here: Path, nano_llama: Path) -> None:
    held: list[weakref.ref[Any]] = []

    class Watch(potstill.Callback):
        def stage_started(self, stage: str) -> None:
            assert held[0]() is None

    def teacher() -> tuple[Any, Any]:
        network, tokenizer = loaded(nano_llama)
        held.append(weakref.ref(network))
        return network, tokenizer

    potstill.distill(
        SMALL,
        "a",
        teacher=teacher(),
        prompts=TEXTS,
        terms="mit",
        until="collect",
        callbacks=[Watch()],
    )
    assert held[0]() is None


def process_state() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),
        "random": random.getstate(),
        "threads": torch.get_num_threads(),
        "running": threading.active_count(),
        "dtype": torch.get_default_dtype(),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "verbosity": transformers.logging.get_verbosity(),
        "bars": transformers.logging.is_progress_bar_enabled(),
        "handlers": [list(logging.getLogger(n).handlers) for n in (None, "potstill")],
        "directory": Path.cwd(),
        "gradients": torch.is_grad_enabled(),
        "hook": sys.excepthook,
    }


def test_the_process_is_left_as_it_was_and_logs_quote_nothing(
    here: Path, nano_llama: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="potstill")
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    transformers.logging.enable_progress_bar()
    try:
        with torch.no_grad():
            before = process_state()
            run = potstill.distill(
                SMALL, "a", teacher=str(nano_llama), prompts=TEXTS, until="train"
            )
            assert process_state() == before
    finally:
        torch.set_default_dtype(torch.float32)
    said = [record for record in caplog.records if record.name == "potstill"]
    assert {record.levelno for record in said} == {logging.INFO, logging.DEBUG}
    text = "\n".join(record.getMessage() for record in said)
    quoted = [*TEXTS, *(row.response for row in run.exchanges())]
    assert not [words for words in quoted if len(words) > 8 and words in text]


def test_a_server_is_asked_from_within_a_running_loop(here: Path, nano_llama: Path) -> None:
    """As in a notebook."""
    with FaultServer(Behaviour()) as server:
        recipe = {
            **SMALL,
            "teacher": {
                "model": "nano",
                "endpoint": {"url": server.url, "provider": "tests"},
                "terms": {"authorisation": "yes.txt"},
            },
            "shrink": {},
            "collect": {"targets": "none"},
            "train": {"cross_entropy": 1},
        }
        Path("yes.txt").write_text("Yes.")

        async def cell() -> potstill.Run:
            return potstill.distill(recipe, "a", student=nano_llama, prompts=TEXTS, until="collect")

        run = asyncio.run(cell())
    assert len(run.exchanges("train")) > 20
    with pytest.raises(potstill.PotstillError, match="has no evaluation yet"):
        _ = run.evaluation


def asked(run: potstill.Run) -> set[str]:
    return {str(row.messages[-1]["content"]) for row in run.exchanges()}


@pytest.mark.parametrize("form", ["texts", "messages", "rows", "tuples", "generator", "file"])
def test_prompts_are_handed_in_in_many_forms(form: str, here: Path, nano_llama: Path) -> None:
    Path("mine.jsonl").write_text("".join(json.dumps({"prompt": t}) + "\n" for t in TEXTS))
    forms: dict[str, Callable[[], Any]] = {
        "texts": lambda: TEXTS,
        "messages": lambda: [[{"role": "user", "content": text}] for text in TEXTS],
        "rows": lambda: [{"question": text, "number": n} for n, text in enumerate(TEXTS)],
        "tuples": lambda: tuple(({"role": "user", "content": text},) for text in TEXTS),
        "generator": lambda: (text for text in TEXTS),
        "file": lambda: Path("mine.jsonl"),
    }
    prompts = dict(SMALL["prompts"])
    if form in ("rows", "texts"):
        prompts["column"] = "question"
    run = potstill.distill(
        {**SMALL, "prompts": prompts},
        "a",
        teacher=nano_llama,
        prompts=forms[form](),
        until="collect",
    )
    assert asked(run) <= set(TEXTS)
    assert len(asked(run)) > 30


def test_a_data_set_is_handed_in(here: Path, nano_llama: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra hf-datasets")
    rows = datasets.Dataset.from_list([{"prompt": text} for text in TEXTS])
    run = potstill.distill(SMALL, "a", teacher=nano_llama, prompts=rows, until="collect")
    assert asked(run) <= set(TEXTS)
    split = datasets.DatasetDict({"train": rows})
    assert refused(SMALL, "b", teacher=nano_llama, prompts=split).endswith("prompts['train']")


def test_a_student_is_handed_in_as_a_network(here: Path, nano_llama: Path) -> None:
    student, tokenizer = loaded(nano_llama)
    before = [p.clone() for p in student.parameters()]
    recipe = {**SMALL, "shrink": {}}

    def distilled(**stated: str) -> potstill.Run:
        return potstill.distill(
            {**recipe, "student": stated},
            "a",
            teacher=nano_llama,
            student=(student, tokenizer),
            prompts=TEXTS,
            until="train",
        )

    # Whose licence its weights came under, nobody has said.
    words = r"state no licence.*state its licence in student\."
    with pytest.raises(potstill.PotstillError, match=words):
        distilled()
    run = distilled(licence="own")
    assert all(map(torch.equal, before, student.parameters()))
    terms = json.loads((run.student_directory / "student-terms.json").read_text())
    assert [source["licences"] for source in terms["sources"]] == [["apache-2.0"], ["own weights"]]
    assert run.student(device="cpu").network.num_parameters() == student.num_parameters()


@pytest.mark.parametrize("kind", ["recipe", "file", "text", "sections", "numbers"])
def test_a_recipe_is_handed_in_in_many_forms(kind: str, here: Path, nano_llama: Path) -> None:
    values = {**SMALL, "name": "mine", "teacher": {"model": "somebody/else"}}
    whole = Recipe.model_validate(values)
    Path("mine.yaml").write_text(dump_recipe(whole))
    forms: dict[str, Any] = {
        "recipe": whole,
        "file": Path("mine.yaml"),
        "text": "mine.yaml",
        "sections": {**values, "train": TrainConfig(epochs=2)},
        "numbers": {**values, "seed": np.int64(3), "train": {"epochs": np.float32(2)}},
    }
    run = potstill.distill(forms[kind], teacher=nano_llama, prompts=TEXTS, until="collect")
    assert run.root == Path("runs/mine")
    assert run.recipe.teacher.model == str(nano_llama)
    assert run.recipe.train.epochs == (2 if kind in ("sections", "numbers") else 1)
    # What was handed in has not changed.
    assert values["teacher"] == {"model": "somebody/else"}


def test_a_file_may_leave_out_what_is_handed_in(here: Path, nano_llama: Path) -> None:
    Path("part.yaml").write_text("prompts: {held_out_count: 6, validation_count: 3}\n")
    run = potstill.distill(
        "part.yaml", "my run", teacher=nano_llama, prompts=TEXTS, until="collect"
    )
    assert run.recipe.name == "my-run"
    Path("wrong.yaml").write_text("prompts:\n  held_out_cuont: 6\n")
    assert refused("wrong.yaml", "b", teacher=nano_llama).startswith(
        "wrong.yaml, line 2: unknown key prompts.held_out_cuont"
    )


BAD: list[tuple[dict[str, Any], str]] = [
    ({"recipe": 5}, "recipe has to be a Recipe, a mapping of its values, or the path of its YAML"),
    ({"recipe": {"trian": {}}}, "the recipe: unknown key trian; did you mean train?"),
    ({"recipe": {1: 2}}, "the recipe: "),
    ({"recipe": {"teacher": "my/model"}}, "the recipe: teacher must be a section with the keys"),
    ({"recipe": {"prompts": 5}}, "the recipe: prompts must be a section with the keys"),
    ({"recipe": "not-there.yaml"}, "the recipe not-there.yaml does not exist"),
    ({"teacher": 5}, "teacher has to be the name or directory of a model, or a transformers"),
    ({"teacher": ("a", "b")}, "teacher has to be the name or directory of a model"),
    ({"student": 3}, "student has to be the name or directory of a model"),
    ({"teacher": None}, "the recipe: teacher.model is missing"),
    ({"prompts": 5}, "prompts has to be a list of texts, of conversations or of rows, but an int"),
    ({"prompts": {"train": TEXTS}}, "prompts has to be a list of texts"),
    ({"prompts": b"a"}, "prompts has to be a list of texts, of conversations or of rows, but a b"),
    ({"prompts": {"a"}}, "prompts has to be a list of texts"),
    ({"prompts": []}, "prompts holds no prompt"),
    ({"prompts": ["a", 5]}, "prompts[1] is an int"),
    ({"prompts": [{"role": "user", "content": "a"}]}, "prompts[0] is a message, not a conversa"),
    ({"prompts": [{"prompt": object()}]}, "prompts[0] holds values that JSON does not have"),
    ({"prompts": "nowhere.jsonl"}, "the prompt file nowhere.jsonl does not exist"),
    ({"terms": 5}, 'terms has to be the name of a licence, such as "apache-2.0", or {"author'),
    ({"terms": "mit"}, "terms states the licence of a teacher that is handed in as a network"),
    ({"terms": {"authorization": "x"}}, "terms: unknown key teacher.terms.authorization"),
    ({"out": 5}, "out has to be the path of a run directory"),
    ({"out": ""}, "out has to be the path of a run directory"),
    ({"out": None}, "the run has neither a name nor a directory; hand in out"),
    ({"callbacks": 5}, "callbacks has to be a list of potstill.Callback, but holds int"),
    ({"callbacks": potstill.Callback()}, "callbacks has to be a list of potstill.Callback"),
    ({"callbacks": [print]}, "callbacks has to be a list of potstill.Callback"),
    ({"until": "shrunk"}, "there is no stage shrunk; there are collect, curate, shrink, train"),
]


@pytest.mark.parametrize(("bad", "said"), BAD, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_refused_in_a_sentence(
    bad: dict[str, Any], said: str, here: Path, nano_llama: Path
) -> None:
    args = {"recipe": SMALL, "out": "a", "teacher": nano_llama, "prompts": TEXTS} | bad
    text = refused(args.pop("recipe"), args.pop("out"), **args)
    assert text.startswith(said)
    assert "\n" not in text
    assert not Path("a").exists()


def test_a_network_without_terms_is_unknown(
    here: Path, network: tuple[Any, Any], nano_llama: Path
) -> None:
    text = refused(SMALL, "a", teacher=network, prompts=TEXTS)
    assert 'unknown, and so refused; state it, as in terms="apache-2.0"' in text
    assert not list(here.iterdir())
    text = refused(SMALL, "a", teacher=network, prompts=TEXTS, terms="my own words")
    assert "states my own words, which potstill has no facts on" in text
    Path("yes.txt").write_text("Yes.")
    for terms, more in ((None, {"model": "x", "terms": {"authorisation": "yes.txt"}}), ("yes", {})):
        stated = {"authorisation": "yes.txt"} if terms else None
        recipe = {**SMALL, "teacher": more} if more else SMALL
        run = potstill.distill(
            recipe, "b", teacher=network, prompts=TEXTS, terms=stated, until="collect"
        )
        assert "authorisation blake3:" in run.exchanges()[0].terms_decision


def test_a_network_with_adapters_or_without_weights_is_refused(
    here: Path, network: tuple[Any, Any], nano_llama: Path
) -> None:
    peft = pytest.importorskip("peft", reason="needs the extra lora")
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(network[0].config)
    one = {"prompts": TEXTS, "terms": "mit"}
    assert "not in memory" in refused(SMALL, "a", teacher=(empty, network[1]), **one)
    adapted, tokenizer = loaded(nano_llama)
    adapted._hf_peft_config_loaded = True  # as transformers' add_adapter leaves it
    assert "merge them first" in refused(SMALL, "a", teacher=(adapted, tokenizer), **one)
    wrapped = peft.get_peft_model(loaded(nano_llama)[0], peft.LoraConfig(target_modules=["q_proj"]))
    assert "a transformers model" in refused(SMALL, "a", teacher=(wrapped, tokenizer), **one)
    assert not list(here.iterdir())


_KILLED = """
    import json, os, signal, sys
    from transformers import AutoModelForCausalLM, AutoTokenizer
    import potstill

    class Kill(potstill.Callback):
        def logged(self, entry):
            os.kill(os.getpid(), signal.SIGKILL)

    call = json.loads(sys.argv[1])
    teacher = tuple(k.from_pretrained(call["model"]) for k in (AutoModelForCausalLM, AutoTokenizer))
    potstill.distill(
        call["recipe"], "a", teacher=teacher, prompts=call["prompts"], terms="mit",
        callbacks=[Kill()],
    )
"""


@pytest.mark.slow
def test_it_goes_on_after_a_kill(here: Path, network: tuple[Any, Any], nano_llama: Path) -> None:
    call = json.dumps({"model": str(nano_llama), "recipe": SMALL, "prompts": TEXTS})
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(_KILLED), call])
    assert done.returncode == -signal.SIGKILL
    left = fingerprint(here / "a-given")
    began: list[str] = []

    class Watch(potstill.Callback):
        def stage_started(self, stage: str) -> None:
            began.append(stage)

    run = potstill.distill(
        SMALL, "a", teacher=network, prompts=TEXTS, terms="mit", callbacks=[Watch()]
    )
    assert began == ["train", "evaluate"]
    assert run.report.is_file()
    assert fingerprint(here / "a-given") == left


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, potstill; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = ("torch", "numpy", "pydantic", "transformers", "pyarrow", "yaml", "typer")
    assert not [name for name in heavy if f"'{name}'" in said.stdout]
    assert set(dir(potstill)) == set(potstill.__all__)
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        _ = potstill.distil  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _bars() -> Iterator[None]:
    """Tests of the command have no bars of transformers' either."""
    shown = transformers.logging.is_progress_bar_enabled()
    yield
    if not shown:
        transformers.logging.disable_progress_bar()


def test_half_a_character_is_refused_without_quoting_the_prompt(here: Path) -> None:
    said = refused(SMALL, "half", teacher="some/teacher", prompts=["secret", "secret \ud800"])
    assert said.startswith("prompts[1] holds half of a character") and "secret" not in said
    assert not list(here.iterdir())


@pytest.mark.parametrize("until", ["evaluat", ["collect"], 3])
def test_no_such_stage_is_refused_before_anything_is_written(
    until: Any, here: Path, network: tuple[Any, Any]
) -> None:
    said = refused(SMALL, "none", teacher=network, prompts=TEXTS, terms="mit", until=until)
    assert "there are collect, curate, shrink, train, evaluate" in said
    assert not list(here.iterdir())


def test_calls_in_two_threads_come_one_after_the_other(here: Path, nano_llama: Path) -> None:
    """Loading in two threads at a time leaves transformers unable to load for good."""
    inside, found, most = [], [], []

    class Watch(potstill.Callback):
        def stage_started(self, stage: str) -> None:
            inside.append(stage)
            most.append(len(inside))

        def stage_finished(self, stage: str, record: Any) -> None:
            inside.pop()

    def call(name: str) -> None:
        run = potstill.distill(
            SMALL, name, teacher=nano_llama, prompts=TEXTS, until="collect", callbacks=[Watch()]
        )
        found.append({row.exchange_id: row.response for row in run.exchanges()})

    threads = [threading.Thread(target=call, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1] and found[0] == found[1]
    assert not any(weight.is_meta for weight in loaded(nano_llama)[0].parameters())


def test_what_was_learnt_under_one_licence_goes_on_under_no_other(
    network: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"teacher": network, "prompts": TEXTS, "until": "collect"}
    first = potstill.distill(SMALL, "a", **given, terms="mit")
    kept = {p: p.read_bytes() for p in Path("a-given").rglob("potstill-source.json")}
    with pytest.raises(potstill.PotstillError, match=r"teacher\.model"):
        potstill.distill(SMALL, "a", **given, terms="apache-2.0")
    assert all(path.read_bytes() == content for path, content in kept.items()) and len(kept) == 1
    assert potstill.distill(SMALL, "a", **given, terms="mit") == first
