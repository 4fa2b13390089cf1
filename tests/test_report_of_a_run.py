"""What a finished run says of itself, held against its store, its models and its server's log.

Every figure is made again here from what lies in the run directory, in another way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import pipeline_runs
from fault_server import Behaviour, FaultServer
from potstill.cli.app import app
from potstill.exchanges.store import ExchangeStore
from potstill.recipe import Recipe
from potstill.recipe.io import dump_recipe

# Places of prompts in their split that are made equal by hand: (held out, training).
SAME = ((3, 5), (9, 30))
PRICE_IN, PRICE_OUT = 2.0, 8.0
Merges = dict[int, list[tuple[int, int]]]


@dataclass(frozen=True)
class Told:
    """A run, and what the command said of it."""

    root: Path
    evaluation: dict[str, Any]
    page: str
    shown: str
    output: str

    @classmethod
    def of(cls, root: Path, output: str = "") -> Told:
        as_json = json.loads(command("show", str(root), "--json"))
        evaluation = json.loads((root / "evaluation.json").read_text(encoding="utf-8"))
        assert as_json["evaluation"] == evaluation
        page = (root / "report.html").read_text(encoding="utf-8")
        return cls(root, evaluation, page, flat(command("show", str(root))), flat(output))

    def state(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / "state" / f"{name}.json").read_text(encoding="utf-8"))

    def rows(self, split: str | None = None) -> list[Any]:
        store = ExchangeStore(self.root)
        try:
            return store.read(split) if split else store.read()  # type: ignore[arg-type]
        finally:
            store.close()


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def command(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def written(values: dict[str, Any], path: Path) -> Path:
    path.write_text(dump_recipe(Recipe.model_validate(values)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pruned(nano_llama: Path, nano_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A student of fewer blocks and tokens, found by a search.

    Before the figures are made, two held-out prompts are made to ask what training prompts ask.
    """
    folder = tmp_path_factory.mktemp("pruned")
    cut = {"drop_layers": 1, "candidates": 3, "vocabulary": 400, "trial_tokens": 600}
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, shrink=cut)
    values["evaluate"]["greedy"] = False
    recipe, root = written(values, folder / "recipe.yaml"), folder / "run"
    command("train", str(recipe), "--out", str(root), "--quiet")
    path = root / "state" / "prompts.json"
    plan = json.loads(path.read_text(encoding="utf-8"))
    by_split = {s: [p for p in plan["prompts"] if p["split"] == s] for s in ("held_out", "train")}
    for held_out, train in SAME:
        by_split["held_out"][held_out]["messages"] = by_split["train"][train]["messages"]
    path.write_text(json.dumps(plan), encoding="utf-8")
    return Told.of(root, command("distill", str(recipe), "--out", str(root)))


@pytest.fixture(scope="module")
def served(
    nano_llama: Path, nano_prompts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Told, list[dict[str, Any]]]]:
    """A student of a server that gives some prompts no answer, and what the server was asked."""
    folder = tmp_path_factory.mktemp("served")
    with FaultServer(
        Behaviour(model="smollm2-nano", rate=0.25, faults=("200 with an error",), seed=5)
    ) as server:
        values = pipeline_runs.recipe_values(
            "smollm2-nano",
            nano_prompts,
            student={"model": str(nano_llama)},
            collect={"targets": "none"},
            train={"cross_entropy": 1.0},
            evaluate={"greedy": False},
        )
        values["prompts"] |= {"limit": 40}
        values["shrink"] = {}
        values["teacher"]["endpoint"] = {
            "url": server.url, "provider": "test", "tries": 1,
            "price_in": PRICE_IN, "price_out": PRICE_OUT,
        }  # fmt: skip
        recipe = written(values, folder / "recipe.yaml")
        output = command("distill", str(recipe), "--out", str(folder / "run"))
        yield Told.of(folder / "run", output), list(server.bodies)


# How long the answers were


def test_every_answer_is_in_one_bar_of_the_histogram(pruned: Told) -> None:
    bars = pruned.evaluation["collection"]["lengths"]
    ends = [tuple(map(int, (name.split("-") * 2)[:2])) for name in bars]
    assert all(low <= high for low, high in ends)
    assert all(one[1] + 1 == other[0] for one, other in pairwise(ends))
    lengths = [len(row.response_token_ids) for row in pruned.rows("train")]
    counted = [sum(low <= n <= high for n in lengths) for low, high in ends]
    assert list(bars.values()) == counted
    assert sum(counted) == len(lengths) == 60
    assert len(set(counted)) > 1
    for name, count in bars.items():
        assert f"{name}: {count}" in pruned.page


# Training prompts among the held-out ones


def test_all_held_out_prompts_are_looked_for_in_all_training_prompts(pruned: Told) -> None:
    found = pruned.evaluation["overlap"]
    assert (found["held_out"], found["train"]) == (12, 60)
    assert found["exact"] == len(SAME)
    assert "Held-out prompts also in training</dt><dd>2<" in pruned.page


# What it cost


@dataclass(frozen=True)
class Arithmetic:
    """The operations of one nano Llama, from its config alone."""

    width: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    blocks: int
    vocabulary: int

    @classmethod
    def of(cls, path: Path) -> Arithmetic:
        c = json.loads((path / "config.json").read_text(encoding="utf-8"))
        heads = c["num_attention_heads"]
        return cls(
            c["hidden_size"], c["intermediate_size"], heads, c["num_key_value_heads"],
            c.get("head_dim") or c["hidden_size"] // heads, c["num_hidden_layers"],
            c["vocab_size"],
        )  # fmt: skip

    @property
    def body(self) -> float:
        attention = 2 * self.width * self.head_width * (self.heads + self.kv_heads)
        return 2.0 * self.blocks * (attention + 3 * self.width * self.inner)

    @property
    def head(self) -> float:
        return 2.0 * self.width * self.vocabulary

    def forward(self, lengths: Sequence[int], positions: int) -> float:
        pairs = sum(n * (n + 1) / 2 for n in lengths)
        scores = 4.0 * self.heads * self.head_width * self.blocks * pairs
        return self.body * sum(lengths) + self.head * positions + scores


@pytest.fixture(scope="module")
def sizes(pruned: Told, nano_llama: Path) -> tuple[Arithmetic, Arithmetic]:
    return Arithmetic.of(nano_llama), Arithmetic.of(pruned.root / "student")


def test_the_cost_of_collecting_counts_bodies_and_heads(
    pruned: Told, sizes: tuple[Arithmetic, Arithmetic]
) -> None:
    teacher, _ = sizes
    lengths = [(len(r.prompt_token_ids), len(r.response_token_ids)) for r in pruned.rows()]
    written = sum(response for _, response in lengths)
    expected = teacher.forward([p + r - 1 for p, r in lengths], written)
    spent = pruned.evaluation["cost"]["collection"]
    assert spent["flops"] == pytest.approx(expected, rel=1e-9)
    assert spent["tokens"] == written


def test_the_cost_of_shrinking_counts_every_trial(
    pruned: Told, sizes: tuple[Arithmetic, Arithmetic]
) -> None:
    teacher, _ = sizes
    done = pruned.state("shrink")
    tried, tokens = len(done["trials"]), done["calibration_tokens"]
    assert tried >= 3
    expected = (2.0 * tokens + 2.0 * 600 * tried) * teacher.body
    assert pruned.evaluation["cost"]["shrink"]["flops"] == pytest.approx(expected, rel=1e-9)


def test_the_cost_of_training_counts_both_heads(
    pruned: Told, sizes: tuple[Arithmetic, Arithmetic]
) -> None:
    teacher, student = sizes
    done = pruned.state("train")
    lengths = done["lengths"]
    whole, positions = [p + r for p, r in lengths], sum(r for _, r in lengths)
    epoch = 3.0 * student.forward(whole, positions) + teacher.head * positions
    again = done["scored_again"] / len(lengths)
    epoch += again * teacher.forward(whole, 0)
    expected = epoch * done["tokens"] / sum(whole)
    spent = pruned.evaluation["cost"]["training"]["flops"]
    assert spent == pytest.approx(expected, rel=1e-9)


def test_the_total_and_the_page_hold_every_stage(pruned: Told) -> None:
    cost = pruned.evaluation["cost"]
    stages = ("collection", "shrink", "training", "evaluation")
    assert cost["total"]["flops"] == pytest.approx(sum(cost[s]["flops"] for s in stages))
    assert all(cost[s]["flops"] > 0 for s in stages)
    assert cost["ratio_flops"] == cost["total"]["flops"] / cost["from_scratch"]["flops"]
    # The student is cut from its teacher: it began as no other model.
    assert "parent" not in cost and "ratio_flops_with_parent" not in cost


def test_money_is_that_of_the_answers_of_every_split(
    served: tuple[Told, list[dict[str, Any]]],
) -> None:
    run, bodies = served
    rows = run.rows()
    assert {row.split for row in rows} == {"train", "validation", "held_out"}
    # The server charges 7 and 5 tokens for each of its answers.
    expected = len(rows) * (7 * PRICE_IN + 5 * PRICE_OUT) / 1e6
    collection, cost = run.evaluation["collection"], run.evaluation["cost"]
    assert collection["money"] == pytest.approx(expected)
    assert run.state("collect")["figures"]["money"] == pytest.approx(expected)
    assert collection["response_tokens"] == cost["collection"]["tokens"] == 5 * len(rows)
    machine = cost["collection"]["seconds"] / 3600 * 0.1
    assert cost["collection"]["money"] == pytest.approx(machine + expected, rel=0.05)
    assert len(rows) < len(bodies)
    assert "for machine time and answers" in run.output


# The trimmed vocabulary


def test_the_kept_tokens_are_those_of_both_tokenizers(pruned: Told, nano_llama: Path) -> None:
    student, teacher = (
        len(AutoTokenizer.from_pretrained(path)) for path in (pruned.root / "student", nano_llama)
    )
    found = pruned.evaluation["vocabulary"]
    assert (found["kept"], found["of"]) == (student, teacher)
    assert student == 400 < teacher
    assert f"Tokens kept</dt><dd>400 of {teacher}<" in pruned.page
    assert f"The student keeps 400 of {teacher} tokens" in pruned.page


def test_tokens_are_cut_by_what_the_teacher_gives_them(pruned: Told, nano_llama: Path) -> None:
    """The weights of docs/methods/shrink.md by hand: counts, likely new tokens, and what losing a
    token takes from the teacher's distributions. Without the last others would be kept."""
    merges = made_by_merges(nano_llama)
    count, likely, lost = token_weights(pruned, nano_llama, merges)
    kept = set(pruned.state("shrink")["kept_tokens"])
    assert len(kept ^ chosen(merges, count + likely + lost, len(kept))) <= 2
    assert len(kept ^ chosen(merges, count + likely, len(kept))) >= 10


@torch.no_grad()
def token_weights(run: Told, path: Path, merges: Merges) -> tuple[Tensor, Tensor, Tensor]:
    """Return by token: its count in the training text, unseen ones' due, and its removal's cost."""
    teacher = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    size = teacher.config.vocab_size
    count, likely, lost = (torch.zeros(size, dtype=torch.float64) for _ in range(3))
    first = torch.arange(size)
    for rank, (token, pairs) in enumerate(merges.items()):
        first[token] = pairs[0][0]
        likely[token] = 1 / (rank + 1000)
    for row in run.rows("train"):
        prompt, response = row.ids
        for token in (*prompt, *response):
            count[token] += 1
        logits = teacher(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
        p = logits.double().softmax(-1)
        lost += (p * torch.log1p(p / p[:, first])).sum(0)
    likely[count > 0] = 0
    return count, likely * (count == 1).sum() / likely.sum(), lost


def chosen(merges: Merges, weight: Tensor, number: int) -> set[int]:
    """Return the heaviest tokens, each with all that its merges need."""
    kept = set(range(len(weight))) - merges.keys()
    for token in sorted(merges, key=lambda i: (-float(weight[i]), i)):
        needed: set[int] = set()
        waiting = [token]
        while waiting:
            one = waiting.pop()
            if one not in kept | needed:
                needed.add(one)
                waiting += [part for pair in merges.get(one, ()) for part in pair]
        if len(kept | needed) <= number:
            kept |= needed
    return kept


def made_by_merges(path: Path) -> Merges:
    """Return by token the pairs that make it, in the order of the merges."""
    model = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    ids: dict[str, int] = model["vocab"]
    found: Merges = {}
    for merge in model["merges"]:
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        found.setdefault(ids[left + right], []).append((ids[left], ids[right]))
    return found


# What is left out is said where the figure stands


def test_held_out_prompts_without_an_answer_are_counted_with_the_figures(
    served: tuple[Told, list[dict[str, Any]]],
) -> None:
    run, _ = served
    held_out = run.evaluation["held_out"]
    answered = {row.prompt_id for row in run.rows("held_out")}
    missing = 12 - len(answered)
    assert missing > 0
    assert held_out["prompts"] == len(answered)
    assert held_out["left_out"] == {"no_answer": missing}
    said = f"{missing} more left out: {missing} without an answer"
    for text in (run.output, run.shown, flat(run.page)):
        assert f"On {len(answered)} prompts kept out of training ({said}) it" in text
    assert f"Fidelity on {len(answered)} held-out prompts ({said})" in run.shown
    assert f"to {len(answered)} held-out prompts ({said}), at every" in flat(run.page)
    # Validation prompts are counted apart.
    unmeasured = 6 - len({row.prompt_id for row in run.rows("validation")})
    left_out = run.evaluation["training"]["validation_left_out"]
    assert left_out == ({"no_answer": unmeasured} if unmeasured else {})


# Where training lost, or changed nothing


@pytest.fixture(scope="module")
def equal(nano_llama: Path, nano_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A student that is its teacher already, and steps far too large for it to stay so."""
    folder = tmp_path_factory.mktemp("equal")
    values = pipeline_runs.recipe_values(
        nano_llama,
        nano_prompts,
        student={"model": str(nano_llama)},
        prompts={"limit": 30, "held_out_count": 20},
        train={"learning_rate": 0.05, "validate_every": 2},
    )
    values["shrink"] = {"drop_layers": 0}
    recipe = written(values, folder / "recipe.yaml")
    output = command("distill", str(recipe), "--out", str(folder / "run"))
    return Told.of(folder / "run", output)


def test_training_that_only_lost_leaves_the_untrained_student_and_says_so_first(
    equal: Told,
) -> None:
    training = equal.evaluation["training"]
    assert training["kept_step"] == 0 < training["steps"]
    assert training["validated_by"] == "kl"
    assert training["validation_kept"] == training["validation_before"] < 1e-4
    assert training["validation_last"] > 0.1
    for text in (equal.output, equal.shown, flat(equal.page)):
        assert "Training did not make it better on validation prompts (" in text
        assert "so that the student is the one before training" in text
        assert "times what it was before training" not in text
    records = [json.loads(line) for line in (equal.root / "metrics.jsonl").open()]
    measured = [r["step"] for r in records if "kl" in r]
    assert measured[0] == 0 and measured[-1] == training["steps"]
    assert "KL on validation prompts" in equal.page and "at step 0, " in equal.page
    assert "before training, step 0, the best on validation prompts" in equal.page
    weights = [equal.root / name / "model.safetensors" for name in ("untrained", "student")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_student_that_equals_its_teacher_has_no_interval_without_a_width(equal: Told) -> None:
    student = equal.evaluation["models"]["student"]
    agreement = student["top1_agreement"]
    assert (agreement["value"], agreement["ci95"], agreement["n"]) == (1.0, None, 20)
    for text in (equal.output, equal.shown, flat(equal.page)):
        assert "100.0% of the time (no interval: all 20 prompts alike)" in text
        assert "100.0% to 100.0%" not in text
    assert "no interval: all 20 prompts alike" in equal.page
    # No figure anywhere has one.
    assert all(low < high for low, high in intervals(equal.evaluation))
    difference = equal.evaluation["differences"]["student_minus_untrained_kl"]
    assert (difference["value"], difference["ci95"]) == (0.0, None)
    assert "student_over_untrained_kl" not in equal.evaluation["differences"]


def test_a_student_that_began_as_a_trained_model_counts_that_ones_training(
    equal: Told, nano_llama: Path
) -> None:
    cost, params = equal.evaluation["cost"], equal.evaluation["models"]["student"]["params"]
    assert cost["parent"] == {
        "model": str(nano_llama), "parameters": params, "flops": 120.0 * params**2
    }  # fmt: skip
    assert cost["ratio_flops_with_parent"] == pytest.approx(1 + cost["ratio_flops"])
    for text in (equal.output, equal.shown):
        assert "with the training of" in text and "which it began as" in text
    assert "counted in: the student began as that model" in flat(equal.page)
    assert "the model it began as (estimated)" in equal.shown


def intervals(value: Any) -> list[tuple[float, float]]:
    """Return every interval of an evaluation, however deep it lies."""
    if isinstance(value, list):
        return [pair for inner in value for pair in intervals(inner)]
    if not isinstance(value, dict):
        return []
    own = [tuple(value[key]) for key in ("ci95", "interval") if value.get(key)]
    return own + [pair for inner in value.values() for pair in intervals(inner)]


# What a server does not say


def test_unknown_counts_of_tokens_are_unknown_and_not_none(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with FaultServer(Behaviour(model="smollm2-nano", usage=False)) as server:
        values = pipeline_runs.recipe_values(
            "smollm2-nano",
            nano_prompts,
            student={"model": str(nano_llama)},
            prompts={"limit": 20},
            collect={"targets": "none"},
            train={"cross_entropy": 1.0},
            evaluate={"greedy": False},
            task={"kind": "text", "max_tokens": 8},
        )
        values["shrink"] = {}
        values["teacher"]["endpoint"] = {
            "url": server.url, "provider": "test", "price_in": PRICE_IN, "price_out": PRICE_OUT
        }  # fmt: skip
        recipe = written(values, tmp_path / "recipe.yaml")
        output = command("distill", str(recipe), "--out", str(tmp_path / "run"))
    run = Told.of(tmp_path / "run", output)
    collection, cost = run.evaluation["collection"], run.evaluation["cost"]
    rows = len(run.rows())
    assert collection["response_tokens"] is None and collection["tokens_per_s"] is None
    assert cost["collection"]["tokens"] is None and cost["total"]["tokens"] is None
    assert f"{rows} of {rows} answers came without their number of tokens" in flat(run.page)
    assert "what they cost is put at its most" in flat(run.page)
    assert collection["money"] > 0 and collection["length_unit"] == "characters"
    # What 1,000 calls cost the teacher is not known, so when the student pays is not, either.
    assert run.evaluation["payback"] is None
    assert "0 response tokens" not in run.shown and "– response tokens" in run.shown
    # All the student's answers are alike in this: an exact interval, or none.
    assert all(low < high for low, high in intervals(run.evaluation))
    readable = run.evaluation["task"]["teacher"]["readable"]
    assert readable["value"] == 1.0 and readable["ci95"][0] == pytest.approx(0.025 ** (1 / 12))
