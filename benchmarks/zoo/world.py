"""The zoo's world: an owner's teacher, the texts that it served, and others' models.

All speak made-up languages of a stated entropy (nano_teachers.py). The owner's teacher was itself
trained by potstill, from a base, so that it has an order of training with a secret and relatives:
the base, siblings from the same base, copies that were tuned further or pruned. Whoever harvests
it begins from a base of their own, of other random weights.

    python benchmarks/zoo/world.py FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from blake3 import blake3
from nano_teachers import MAX_TOKENS, Language, Made, nano_teacher

import potstill
from potstill.durable import replaced_directory
from potstill.exchanges.exchange import Exchange
from potstill.models.conversation.conversation import Reply
from potstill.models.load import load, save
from potstill.models.loaded import LoadedModel
from potstill.progress import Silent
from potstill.recipe import TrainConfig
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.watermark.keys import MasterKey, write_key
from potstill.work.order_secret import OrderSecret
from potstill.work.step_plan import SecretOrder, plan_steps

# The owner's teacher is of this entropy, at 1.0 to 3.0 nats; the zoo says so of each row.
NATS = 2.0
# Prompts that the owner's API was asked.
SERVED = 2_000
# The secret of order of every run here is drawn anew; keys and texts follow from this seed.
SEED = 20_261_130
CARD = "---\nlicense: apache-2.0\n---\n\nA nano model of the zoo.\n"
EPOCH = "2026-11"
# How a harvester trains on text.
LEARNING_RATE, BATCH_TOKENS = 3e-3, 2_048
SCHEMES: dict[str, dict[str, Any]] = {
    "green": {"scheme": "green", "window": 1, "gamma": 0.5, "delta": 2.0},
    "gumbel": {"scheme": "gumbel", "window": 1},
}


@dataclass(frozen=True)
class Said:
    """A prompt and what was said to it; `whole` unless it was cut at the limit."""

    prompt: str
    text: str
    whole: bool = True


@dataclass(frozen=True)
class World:
    """Where everything of a zoo of nano models lies; what is missing is made when asked for."""

    folder: Path
    nats: float = NATS
    served: int = SERVED
    language: int = 0
    # The longest answer that is served, in tokens.
    longest: int = MAX_TOKENS
    # Of how many epochs, the last ones, the models are kept.
    epochs_kept: int = 1_000

    def base(self, seed: int, language: int | None = None) -> Made:
        """Return a base model of a seed: its own random weights, taught by the language alone."""
        number = self.language if language is None else language
        return nano_teacher(self.nats, self.folder / "bases", seed=seed, language=number)

    @property
    def speech(self) -> Language:
        """The language that the owner's teacher speaks."""
        return self.base(0).language_of()

    def corpus(self, seed: int, count: int | None = None) -> list[Said]:
        """Return text of the language itself: nobody's outputs."""
        pairs = self.speech.exchanges(count or self.served, 10_000 + seed)
        return [Said(prompt, text) for prompt, text in pairs]

    @property
    def prompts(self) -> list[str]:
        """What the owner's API was asked."""
        return list(dict.fromkeys(said.prompt for said in self.corpus(0)))

    @property
    def teacher(self) -> Path:
        """The owner's teacher: the base of seed 0, trained on by potstill."""
        return self.trained("teacher", self.base(0).directory, self.corpus(1))[-1]

    def key(self) -> Path:
        """Return the file of the owner's master key."""
        path = self.folder / "owner.key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_key(path, MasterKey(blake3(f"zoo {SEED}".encode()).digest(length=32)))
        return path

    def answers(self, who: str, model: Path, scheme: str | None = None) -> list[Exchange]:
        """Return a model's answers to the served prompts, drawn at T 1, marked or not."""
        name = f"answers-{who}-{scheme or 'plain'}"
        recipe: dict[str, Any] = {
            "name": name,
            "precision": "fp32",
            "teacher": {"model": str(model)},
            "prompts": {"held_out_count": 1, "validation_count": 1},
            "collect": {"max_tokens": self.longest, "targets": "none"},
            "train": {"cross_entropy": 1.0},
            "evaluate": {"fidelity_prompts": 1},
        }
        if scheme is not None:
            mark = {"key": str(self.key()), "epoch": EPOCH, **SCHEMES[scheme]}
            recipe["collect"] |= {"watermark": mark}
        run = potstill.distill(
            recipe,
            self.folder / "runs" / name,
            prompts=self.prompts,
            until="collect",
            progress=Silent(),
        )
        return sorted(run.exchanges("train"), key=lambda row: row.exchange_id)

    def trained(
        self,
        name: str,
        base: Path,
        texts: Sequence[Said],
        *,
        epochs: int = 1,
        rate: float = LEARNING_RATE,
    ) -> list[Path]:
        """Return the model after each epoch on texts, by cross-entropy alone: none is selected."""
        folder = self.folder / "models" / name
        kept = [*range(1, epochs + 1)][-self.epochs_kept :]
        found = [folder / f"epoch-{number}" for number in kept]
        if all((path / "config.json").is_file() for path in found):
            return found
        model = load(str(base), device="cpu", precision="fp32", trainable=True)
        examples = [example_of(model, i, said) for i, said in enumerate(texts)]
        config = self.learning(epochs, rate)
        order = SecretOrder(self.secret(name))
        steps = plan_steps(
            [e.length for e in examples],
            batch_tokens=config.batch_tokens,
            epochs=epochs,
            order=order,
        )
        ends = _ends_of_epochs(steps, len(examples))[-len(kept) :]

        def log(entry: Mapping[str, Any]) -> None:
            if entry["step"] in ends:
                with replaced_directory(found[ends.index(entry["step"])]) as fresh:
                    save(model, fresh)
                    (fresh / "README.md").write_text(CARD, encoding="utf-8")

        train(
            model,
            examples,
            config=config,
            seed=0,
            order=order,
            targets=None,
            checkpoints=folder / "checkpoints",
            validate=None,
            log=log,
            progress=Silent(),
        )
        return found

    def learning(self, epochs: int, rate: float) -> TrainConfig:
        """Return how a model learns from text."""
        return TrainConfig(
            cross_entropy=1.0,
            epochs=float(epochs),
            learning_rate=rate,
            batch_tokens=BATCH_TOKENS,
            micro_batch_tokens=BATCH_TOKENS,
            checkpoint_every=1_000_000,
        )

    def secret(self, name: str) -> OrderSecret:
        """Return the secret of a training's order: fixed, so that a zoo can be made again."""
        return OrderSecret(blake3(f"zoo {SEED} order {name}".encode()).digest())


def example_of(model: LoadedModel, number: int, said: Said) -> TrainingExample:
    messages = [{"role": "user", "content": said.prompt}]
    talk = model.conversation
    reply = talk.reply_ids(messages, Reply(said.text), whole=said.whole)
    return TrainingExample(str(number), talk.prompt_ids(messages), reply, by_text=True)


def _ends_of_epochs(steps: Sequence[Sequence[int]], examples: int) -> list[int]:
    """Return after which steps every example was seen once, twice, ..."""
    seen = np.cumsum([len(step) for step in steps])
    return [n + 1 for n, count in enumerate(seen) if count % examples == 0]


def said_of(rows: Sequence[Exchange]) -> list[Said]:
    """Return exchanges as what was said."""
    return [
        Said(row.messages[-1]["content"], row.response, row.finish_reason == "stop") for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    world = World(parser.parse_args().folder)
    print(world.teacher)
    for scheme in (None, *SCHEMES):
        rows = world.answers("teacher", world.teacher, scheme)
        print(scheme, len(rows), sum(len(row.ids[1]) for row in rows), "tokens")


if __name__ == "__main__":
    main()
