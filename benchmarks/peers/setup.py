"""What every contender of `benchmarks/train.py` trains with: teacher, student and rows of ids.

They are made once in a folder; each contender reads them in a process of its own.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import potstill
from potstill.models.load import blocks_of, load, save
from potstill.models.loaded import LoadedModel
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.work.step_plan import PublicOrder, plan_steps

# Never trained on, and the same for all: what the response follows.
PROMPT = 8
SEED = 0
# All update with the same AdamW (no decay, gradients clipped to norm 1), so that losses can be
# compared step by step.
LEARNING_RATE = 1e-4
BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class Setup:
    """Where things lie, and how large a step is."""

    folder: str
    teacher: str
    student: str
    rows: int
    length: int
    steps: int

    @property
    def tokens(self) -> int:
        """Tokens in one step, prompts included."""
        return self.rows * self.length

    @property
    def response_tokens(self) -> int:
        """Positions in one step that the loss is on."""
        return self.rows * (self.length - PROMPT)

    def ids(self) -> list[list[int]]:
        """Return all rows of ids, in the order in which potstill's loop visits them."""
        stored = json.loads((Path(self.folder) / "rows.json").read_text(encoding="utf-8"))
        steps = plan_steps(
            [self.length] * len(stored), batch_tokens=self.tokens, epochs=1, order=PublicOrder(SEED)
        )
        if [len(step) for step in steps] != [self.rows] * self.steps:
            raise ValueError("the steps are not all of the same size")
        return [stored[i] for step in steps for i in step]

    def stored_ids(self) -> list[list[int]]:
        """Return all rows of ids as they are stored: potstill's loop orders them itself."""
        rows: list[list[int]] = json.loads(
            (Path(self.folder) / "rows.json").read_text(encoding="utf-8")
        )
        return rows

    def write(self) -> Path:
        """Store the setup for the contenders' processes."""
        path = Path(self.folder) / "setup.json"
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls, folder: Path) -> Setup:
        """Return the setup that lies in a folder."""
        return cls(**json.loads((folder / "setup.json").read_text(encoding="utf-8")))


def prepare(
    folder: Path, teacher: str, *, layers: int, rows: int, length: int, steps: int
) -> Setup:
    """Make the student (evenly kept blocks of the teacher) and the rows; return the setup."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load(teacher, device="cpu", precision="fp32")
    count = len(blocks_of(model.network))
    kept = {round(i * (count - 1) / (layers - 1)) for i in range(layers)}
    student, _ = pruned(model, Cut(tuple(i for i in range(count) if i not in kept), None))
    save(student, folder / "student")
    endless = itertools.cycle(_text_ids(model))
    wanted = [[next(endless) for _ in range(length)] for _ in range(rows * steps)]
    (folder / "rows.json").write_text(json.dumps(wanted), encoding="utf-8")
    setup = Setup(
        folder=str(folder),
        teacher=str(model.directory),
        student=str(folder / "student"),
        rows=rows,
        length=length,
        steps=steps,
    )
    setup.write()
    return setup


def torch_dtype(precision: str) -> torch.dtype:
    """Return the dtype that `fp32` or `bf16` names."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def _text_ids(model: LoadedModel) -> list[int]:
    """Return the prompts' ids, or any where the tokenizer knows no text (random weights)."""
    ids: list[int] = model.tokenizer(" ".join(_prompts()), add_special_tokens=False)["input_ids"]
    if len(set(ids)) > 1:
        return ids
    return torch.randint(len(model.tokenizer), (100_000,)).tolist()


def _prompts() -> list[str]:
    """Return the starter prompts: text at hand, the same everywhere."""
    path = Path(potstill.__file__).parent / "data" / "prompts" / "starter.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in lines]
