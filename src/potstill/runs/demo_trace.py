"""`potstill demo trace`: from a key to two verdicts, on models that are made on the spot.

An owner's model answers in marked text. One student is trained on these answers, another on text of
the same language from elsewhere, and both go through the same tests. Every step is the one that a
command does, and what is done already is not done again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from potstill.durable import replaced_directory, write_bytes
from potstill.models.quiet import quiet_transformers
from potstill.progress import Progress, Silent, Step
from potstill.recipe.io import read_trace
from potstill.recipe.trace import TraceConfig
from potstill.recipe.watermark import GAMMA
from potstill.runs.library import distill
from potstill.runs.made_up import LONGEST, Language, tokenizer_of, untrained_network
from potstill.runs.mark_keys import KeyWanted, make_key
from potstill.runs.run import Run
from potstill.runs.trace_planning import texts_path
from potstill.runs.verdict import plan_trace, preview_trace, run_trace
from potstill.trace.marked_texts import read_texts
from potstill.trace.marks_in_choices import MarksInChoicesPlanned
from potstill.trace.plan import PLAN_FILE, FixedPlan
from potstill.trace.registry import Disclosed
from potstill.trace.verdict import Verdict
from potstill.trace.verify import Trust, checks_of
from potstill.watermark.keys import read_key

EPOCH = "epoch-1"
_CARD = "---\nlicense: apache-2.0\n---\n\nMade by `potstill demo trace`: it speaks no language.\n"
_LICENCE = "apache-2.0"


@dataclass(frozen=True)
class DemoSize:
    """How much is made.

    `rows` texts are learnt by a model that begins with random weights, `served` answers are marked
    by `delta`, and a student learns them in so many `epochs`. `positions` of them are read, and
    `samples` answers to each of so many `prompts` asked.
    """

    rows: int
    served: int
    delta: float
    epochs: float
    positions: int
    prompts: int
    samples: int


# A window of one token has no more new windows than the language has tokens, which are read.
FULL = DemoSize(rows=4000, served=1500, delta=2.0, epochs=3, positions=800, prompts=100, samples=4)
QUICK = DemoSize(rows=300, served=300, delta=4.0, epochs=8, positions=700, prompts=20, samples=2)
# Tokens of an optimiser step: a nano network on little text takes many small ones.
_STEP_TOKENS = 500


@dataclass(frozen=True)
class DemoVerdict:
    """What one suspect of the demo came to: its trace, the verdict, and what nobody could check."""

    folder: Path
    verdict: Verdict
    left: Sequence[str]


class _Bars(Silent):
    """Passes bars on and drops notes: the demo says in its own words what is done."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        with self._shown.step(name, total, unit) as step:
            yield step


@dataclass(frozen=True)
class TraceDemo:
    """The demo in a folder; `tell` takes each line of what it says."""

    root: Path
    size: DemoSize
    tell: Callable[[str], None]
    shown: Progress

    def run(self) -> tuple[DemoVerdict, DemoVerdict]:
        """Do whatever is not done yet, and return the verdicts on the guilty and the innocent.

        Raises PotstillError as the commands do, also where the folder holds a demo of other size.
        """
        with quiet_transformers():
            self._key()
            teacher = self._teacher()
            served = self._served(teacher)
            base = self._base()
            guilty = self._guilty(base, served)
            innocent = self._innocent(base)
        return (
            self._traced("guilty", guilty, teacher, served, base),
            self._traced("innocent", innocent, teacher, served, base),
        )

    @property
    def key(self) -> Path:
        """The owner's key."""
        return self.root / "owner" / "master.key"

    @property
    def mark(self) -> dict[str, Any]:
        """The mark, as recipes and traces name it."""
        return {"key": str(self.key), "epoch": EPOCH, "window": 1, "delta": self.size.delta}

    @property
    def language(self) -> Language:
        """What everybody here speaks."""
        return Language(1.8)

    def _key(self) -> None:
        self.tell("1. The owner makes a key. Only who has it can find the marks that it makes.")
        if not self.key.exists():
            self.key.parent.mkdir(parents=True, exist_ok=True)
            make_key(KeyWanted(self.key, "green", window=1, gamma=GAMMA, delta=self.size.delta))
        key_id = read_key(self.key).epoch(EPOCH).key_id
        self.tell(f"   {self.key}; its digest, which is no secret: {key_id}")

    def _teacher(self) -> Path:
        self.tell(
            f"2. The owner's model learns a made-up language from {self.size.rows:,} texts: a "
            "small network, since no hub is asked for one."
        )
        run = self._learnt(
            "owner/teacher", self._untrained("teacher", 0), self._corpus("owner/corpus.jsonl", 1)
        )
        return self._model("teacher", run)

    def _served(self, teacher: Path) -> Run:
        self.tell(
            f"3. It is served. {self.size.served:,} prompts are answered, and every answer is "
            "marked: tokens that the key calls green are likelier."
        )
        pairs = self.language.exchanges(self.size.served, 2)
        prompts = self._lines("owner/prompts.jsonl", ({"prompt": prompt} for prompt, _ in pairs))
        values = {
            "teacher": {"model": str(teacher)},
            "prompts": {"source": str(prompts), "held_out_count": 1, "validation_count": 1},
            "collect": {"max_tokens": LONGEST, "targets": "none", "watermark": self.mark},
            "train": {"cross_entropy": 1.0},
            "evaluate": {"fidelity_prompts": 1},
        }
        return self._distilled("owner/served", values, "collect")

    def _base(self) -> Path:
        self.tell(
            "4. Somebody else has a model of their own, with other weights and from other texts."
        )
        corpus = self._corpus("others/base.jsonl", 3)
        return self._model("base", self._learnt("others/base", self._untrained("base", 1), corpus))

    def _guilty(self, base: Path, served: Run) -> Path:
        rows = [row for row in served.exchanges("train") if row.finish_reason == "stop"]
        self.tell(
            f"5. They train it on {len(rows):,} answers that the owner's model served: the guilty "
            "student."
        )
        pairs = sorted((row.messages[-1]["content"], row.response) for row in rows)
        texts = self._chats("others/harvested.jsonl", pairs)
        run = self._learnt("others/guilty", base, texts, self.size.epochs)
        return self._model("guilty", run)

    def _innocent(self, base: Path) -> Path:
        self.tell(
            f"6. From the same start, another learns {self.size.served:,} texts of that language "
            "from elsewhere: the innocent student."
        )
        texts = self._corpus("others/elsewhere.jsonl", 4, self.size.served)
        run = self._learnt("others/innocent", base, texts, self.size.epochs)
        return self._model("innocent", run)

    def _traced(
        self, name: str, suspect: Path, teacher: Path, served: Run, base: Path
    ) -> DemoVerdict:
        number = 7 if name == "guilty" else 8
        self.tell(f"{number}. The {name} student is tested, by the owner, who has its weights.")
        config = self._settings(name, suspect, teacher, served, base)
        folder = self.root / config.name
        if not (folder / "bundle" / PLAN_FILE).is_file():
            self.tell("   What the plan takes, and may find:")
            for line in preview_trace(config, Silent()):
                self.tell(f"     {line}")
        fixed = plan_trace(config, folder, progress=Silent()).plan
        self.tell(
            f"   The plan is fixed before anything is asked: {folder / 'bundle' / PLAN_FILE}, "
            f"digest {fixed.digest[:16]}..., noted in the chain of the owner's plans."
        )
        verdict = run_trace(folder, progress=_Bars(self.shown))
        checks = list(checks_of(folder / "bundle", self._trust(folder, fixed)))
        held = [check for check in checks if check.state == "holds"]
        self.tell(f"   Asked, answered, and verified with the key: {len(held)} checks hold.")
        left = [f"{check.what}: {check.detail}" for check in checks if check not in held]
        return DemoVerdict(folder, verdict, left)

    def _settings(
        self, name: str, suspect: Path, teacher: Path, served: Run, base: Path
    ) -> TraceConfig:
        """Write the settings of a trace, where there are none, and return them."""
        pairs = self.language.exchanges(self.size.prompts, 5)
        prompts = self._lines("owner/asked.jsonl", ({"prompt": prompt} for prompt, _ in pairs))
        values = {
            "name": f"trace-{name}",
            "chain": str(self.root / "owner" / "plans.chain.jsonl"),
            "device": "cpu",
            "precision": "fp32",
            "teacher": {"name": "owner-model", "model": str(teacher)},
            "suspect": {"name": f"student-{name}", "model": str(suspect)},
            "controls": [str(base)],
            "watermark": self.mark,
            "prompts": {"source": str(prompts), "count": self.size.prompts},
            "tests": {
                "watermark_reading": {
                    "texts": str(served.root),
                    "positions": self.size.positions,
                },
                "watermark_text": {"samples": self.size.samples},
                "weights": {},
            },
        }
        path = self.root / f"trace-{name}.yaml"
        if not path.exists():
            write_bytes(path, yaml.safe_dump(values, sort_keys=False).encode())
        return read_trace(path)

    def _trust(self, folder: Path, fixed: FixedPlan) -> Trust:
        """Return the key and the marked texts, as an owner may disclose them."""
        texts = {
            planned.configuration: read_texts(texts_path(folder / "own", number))
            for number, planned in enumerate(fixed.plan.tests)
            if isinstance(planned, MarksInChoicesPlanned)
        }
        return Trust(Disclosed(key=read_key(self.key).epoch(EPOCH), texts=texts))

    def _learnt(self, name: str, start: Path, texts: Path, epochs: float | None = None) -> Run:
        """Return the run in which a model learns texts, by cross-entropy alone."""
        values = {
            "teacher": {"model": texts.stem},
            "student": {"model": str(start)},
            "prompts": {"held_out_count": 1, "validation_count": 8},
            "collect": {"calls": {"path": str(texts), "form": "chat", "source": _LICENCE}},
            "train": {
                "cross_entropy": 1.0,
                "epochs": epochs or 1.0,
                # A network that knows nothing yet takes more.
                "learning_rate": 6e-3 if epochs is None else 3e-3,
                "weight_decay": 0.01,
                "batch_tokens": _STEP_TOKENS,
                "micro_batch_tokens": _STEP_TOKENS,
                "checkpoint_every": 1000,
                "validate_every": 1000,
            },
        }
        return self._distilled(name, values, "train")

    def _distilled(self, name: str, values: Mapping[str, Any], until: str) -> Run:
        recipe = {"name": Path(name).name, "device": "cpu", "precision": "fp32", **values}
        return distill(recipe, self.root / name, until=until, progress=_Bars(self.shown))

    def _untrained(self, name: str, seed: int) -> Path:
        path = self.root / "models" / f"{name}-untrained"
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            tokenizer = tokenizer_of(self.language)
            with replaced_directory(path) as folder:
                untrained_network(tokenizer, seed).save_pretrained(folder)
                tokenizer.save_pretrained(folder)
                (folder / "README.md").write_text(_CARD, encoding="utf-8")
        return path

    def _model(self, name: str, run: Run) -> Path:
        """Return a run's student under a name of its own, with what it is licensed under."""
        path = self.root / "models" / name
        if not path.is_dir():
            with replaced_directory(path) as folder:
                shutil.copytree(run.student_directory, folder, dirs_exist_ok=True)
                (folder / "README.md").write_text(_CARD, encoding="utf-8")
        return path

    def _corpus(self, name: str, seed: int, count: int | None = None) -> Path:
        """Return a file of texts of the language itself, which no model wrote.

        What was cut at the longest is left out: nobody learns to stop in the middle.
        """
        path = self.root / name
        if path.exists():
            return path
        count = count or self.size.rows
        pairs = self.language.exchanges(2 * count, seed)
        whole = [pair for pair in pairs if len(pair[1].split()) < LONGEST]
        return self._chats(name, whole[:count])

    def _chats(self, name: str, pairs: Iterable[tuple[str, str]]) -> Path:
        return self._lines(
            name,
            (
                {
                    "messages": [
                        {"role": "user", "content": prompt},
                        {"role": "assistant", "content": text},
                    ]
                }
                for prompt, text in pairs
            ),
        )

    def _lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        path = self.root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        return path


def demo_trace(
    root: Path,
    *,
    quick: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> tuple[DemoVerdict, DemoVerdict]:
    """Make a key, marked answers, a guilty and an innocent student; return the verdicts on these.

    All lies in `root`, where a demo that was stopped goes on. Raises PotstillError where the folder
    holds a demo of another size.
    """
    return TraceDemo(root, QUICK if quick else FULL, tell, progress or Silent()).run()
