"""Read the teacher's held-out text with every model, and compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from potstill.evaluate.fidelity import compare_all
from potstill.evaluate.summary import FidelitySums, grouping, summed, text_items
from potstill.models.alignment import Alignment
from potstill.models.likelihood import Floats, response_nll
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress, Step
from potstill.text.turns import Message
from potstill.work.items import TextItems

Lengths = tuple[int, int]
Sequences = list[tuple[Sequence[int], Sequence[int]]]


@dataclass(frozen=True)
class HeldOut:
    """One teacher response to a held-out prompt, in the tokens of both.

    `prompt_ids` and `response_ids` are the student's; `teacher_*` are what the teacher read
    and wrote (the same where the vocabulary is whole). `teacher_hidden_RD` holds the states
    that decoding kept, one for each of `teacher_response_ids`; None has the teacher read its
    text again. `response` is its answer, calls of tools as JSON, and `reasoning` what it wrote
    before: bits per byte are taken over both.
    """

    prompt_id: str
    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    response: str
    teacher_prompt_ids: tuple[int, ...]
    teacher_response_ids: tuple[int, ...]
    teacher_hidden_RD: Tensor | None = None
    reasoning: str | None = None

    @property
    def size(self) -> int:
        """Bytes that the teacher wrote, its reasoning included."""
        return len(((self.reasoning or "") + self.response).encode())


@dataclass(frozen=True)
class TextFigures:
    """What one kind of teacher text says: one number a prompt in every array.

    `teacher_nll` is the teacher's own, in its own tokens; `bytes` the UTF-8 length of the
    responses. `read` holds what each model had to read, in tokens.
    """

    sums: Mapping[str, FidelitySums]
    teacher_nll: Floats
    bytes: Floats
    read: Mapping[str, Sequence[Lengths]]

    @property
    def items(self) -> TextItems:
        """What is kept of it."""
        return text_items(self.sums, self.teacher_nll, self.bytes)


def measure_text(
    teacher: LoadedModel,
    students: Mapping[str, LoadedModel],
    rows: Sequence[HeldOut],
    vocabulary: VocabularyMap | None,
    *,
    progress: Progress,
    name: str,
) -> TextFigures:
    """Return the figures of every student on the teacher's text `rows`.

    The teacher reads only what its stored states do not cover: rows whose tokens the trimmed
    vocabulary changed, read in the student's tokens.
    """
    student_rows: Sequences = [(row.prompt_ids, row.response_ids) for row in rows]
    some = next(iter(students.values()))
    to_teacher = Alignment.of(teacher.tokenizer, some.tokenizer, vocabulary).to_teacher
    teacher_rows: Sequences = [(to_teacher(p), to_teacher(r)) for p, r in student_rows]
    own_rows: Sequences = [(row.teacher_prompt_ids, row.teacher_response_ids) for row in rows]
    changed = [_differ(a, b) for a, b in zip(teacher_rows, own_rows, strict=True)]
    stored = [None if c else row.teacher_hidden_RD for c, row in zip(changed, rows, strict=True)]
    missing = [i for i, hidden in enumerate(stored) if hidden is None]
    to_read = dict.fromkeys(students, student_rows)
    to_read["teacher"] = [teacher_rows[i] for i in missing]
    total = sum(len(response) for pairs in to_read.values() for _, response in pairs)
    with progress.step(f"read {name}", total, "tokens") as step:
        teacher_hidden = _filled(stored, missing, _read(teacher, to_read["teacher"], step))
        hidden = {key: _read(model, student_rows, step) for key, model in students.items()}
    tokens = sum(len(response) for _, response in student_rows)
    with progress.step(f"compare on {name}", tokens, "tokens") as step:
        sums = compare_all(
            teacher_hidden,
            head_of(teacher),
            {key: (hidden[key], head_of(model)) for key, model in students.items()},
            [response for _, response in student_rows],
            vocabulary,
            step=step,
        )
    own_nll, own_read = _own_nll(teacher, rows, own_rows, changed, next(iter(sums.values())))
    to_read["teacher"] += own_read
    group = grouping([row.prompt_id for row in rows])
    sizes = np.array([row.size for row in rows], dtype=np.float64)
    return TextFigures(
        sums={key: s.by_prompt([row.prompt_id for row in rows]) for key, s in sums.items()},
        teacher_nll=summed(own_nll, group),
        bytes=summed(sizes, group),
        read={k: [(len(p), len(r)) for p, r in pairs] for k, pairs in to_read.items()},
    )


def _differ(
    one: tuple[Sequence[int], Sequence[int]], other: tuple[Sequence[int], Sequence[int]]
) -> bool:
    return [list(part) for part in one] != [list(part) for part in other]


def _read(model: LoadedModel, rows: Sequences, step: Step) -> list[Tensor]:
    return response_hidden(model, rows, step=step) if rows else []


def _filled(
    stored: Sequence[Tensor | None], missing: Sequence[int], read: Sequence[Tensor]
) -> list[Tensor]:
    found = dict(zip(missing, read, strict=True))
    return [found[i] if hidden is None else hidden for i, hidden in enumerate(stored)]


def _own_nll(
    teacher: LoadedModel,
    rows: Sequence[HeldOut],
    own_rows: Sequences,
    changed: Sequence[bool],
    sums: FidelitySums,
) -> tuple[Floats, Sequences]:
    """Return the teacher's nll a row in its own tokens, and what it had to read for that."""
    nll = sums.teacher_own_nll.copy()
    again = [i for i, c in enumerate(changed) if c]
    if not again:
        return nll, []
    stored = [rows[i].teacher_hidden_RD for i in again]
    missing = [k for k, hidden in enumerate(stored) if hidden is None]
    to_read = [own_rows[again[k]] for k in missing]
    read = response_hidden(teacher, to_read) if to_read else []
    hidden = _filled(stored, missing, read)
    nll[again] = response_nll(hidden, head_of(teacher), [own_rows[i][1] for i in again])
    return nll, to_read
