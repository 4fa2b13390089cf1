"""What every contender of `benchmarks/onpolicy_speed.py` trains with.

Teacher, student and chat prompts are made once in a folder; each contender reads them in a process
of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from peers.setup import prepare
from potstill.collect.prompts import read_prompts
from potstill.models.chat import prompt_ids
from potstill.models.load import load
from potstill.recipe import PromptsConfig

LAYERS = 10
# Prompts of a step, and how many tokens follow each.
PROMPTS, TOKENS = 8, 128
# Steps that are measured, behind one that is not.
MEASURED = 3
# What ends an answer here is a special token that the student hardly ever writes, so that all
# answers have their full length on every side.
END = "<empty_output>"


@dataclass(frozen=True)
class Case:
    """Where the models lie, the ids of all prompts in their order, and what ends an answer."""

    teacher: str
    student: str
    prompts: tuple[tuple[int, ...], ...]
    end: int

    def write(self, folder: Path) -> None:
        """Store it for the contenders' processes."""
        (folder / "case.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Return the case that lies in a folder."""
        found = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        return cls(**found | {"prompts": tuple(tuple(ids) for ids in found["prompts"])})


def made(folder: Path, teacher: str) -> Case:
    """Return the case in a folder, which is filled where it lacks one."""
    if (folder / "case.json").is_file():
        return Case.read(folder)
    setup = prepare(folder, teacher, layers=LAYERS, rows=1, length=16, steps=1)
    student = load(setup.student, precision="fp32")
    messages = read_prompts("starter", PromptsConfig())
    prompts = dict.fromkeys(tuple(prompt_ids(student, turns.messages)) for turns in messages)
    case = Case(
        teacher=setup.teacher,
        student=setup.student,
        prompts=tuple(prompts),
        end=student.tokenizer.convert_tokens_to_ids(END),
    )
    case.write(folder)
    return case
