"""The teacher's side of a student's text: which of its tokens stand where the student's do.

Both are fed the same text. A *span* is a stretch of it that both cut into whole tokens, and spans
follow one another without a gap; where each holds one token of either, distributions compare
position by position. So it is today: either both number the same tokens alike, or the student's
vocabulary is a part of the teacher's, which then reads the student's tokens under its own ids.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from potstill.errors import PotstillError
from potstill.models.vocabulary import VocabularyMap, pieces_of


class Span(NamedTuple):
    """A stretch of text as two half-open ranges of positions."""

    student_start: int
    student_end: int
    teacher_start: int
    teacher_end: int

    @property
    def is_unit(self) -> bool:
        """Whether it is one token in both."""
        return self.student_end - self.student_start == 1 == self.teacher_end - self.teacher_start


class Aligned(NamedTuple):
    """One text in the tokens of both, and the spans that both cut it into, in order."""

    student_ids: tuple[int, ...]
    teacher_ids: tuple[int, ...]
    spans: tuple[Span, ...]


class Alignment(ABC):
    """Between the tokens of a teacher and those of a student.

    `vocabulary` maps them where they differ; None where they are the same.
    """

    def __init__(self, student_tokenizer: Any, vocabulary: VocabularyMap | None = None) -> None:
        self._tokenizer, self.vocabulary = student_tokenizer, vocabulary

    @staticmethod
    def of(
        teacher_tokenizer: Any,
        student_tokenizer: Any,
        vocabulary: VocabularyMap | None = None,
        *,
        name: str = "the student",
    ) -> Alignment:
        """Return the alignment of two tokenizers; `vocabulary` maps a trimmed one's tokens.

        `name` says whose tokenizer it is, in errors. Raises PotstillError where the tokens differ
        and there is no map between them.
        """
        if vocabulary is not None:
            return _Trimmed(teacher_tokenizer, student_tokenizer, vocabulary)
        if not same_tokens(teacher_tokenizer, student_tokenizer):
            raise PotstillError(
                f"{name} has another tokenizer than the teacher ({len(student_tokenizer)} tokens "
                f"against {len(teacher_tokenizer)}); take a student with the teacher's tokenizer, "
                "or make one from the teacher"
            )
        return _Same(student_tokenizer)

    @abstractmethod
    def to_student(self, teacher_ids: Sequence[int]) -> tuple[int, ...]:
        """Return the student's ids of what the teacher wrote, its tokens kept where they can be."""

    @abstractmethod
    def beside(self, student_ids: Sequence[int]) -> Aligned:
        """Return the student's tokens with those that the teacher reads in their place."""

    def to_teacher(self, student_ids: Sequence[int]) -> tuple[int, ...]:
        """Return what the teacher reads in place of the student's tokens.

        Who compares the two position by position relies on units, as both kinds of today have.
        """
        return self.beside(student_ids).teacher_ids

    def tokens(self, text: str) -> Aligned:
        """Return a text (control tokens that it spells are control tokens) in the tokens of both,
        cut up as the student cuts it."""
        return self.beside(self._tokenizer(text, add_special_tokens=False)["input_ids"])


class _Same(Alignment):
    """Both number the same tokens alike."""

    def to_student(self, teacher_ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(teacher_ids)

    def to_teacher(self, student_ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(student_ids)

    def beside(self, student_ids: Sequence[int]) -> Aligned:
        return Aligned(tuple(student_ids), tuple(student_ids), _units(len(student_ids)))


class _Trimmed(Alignment):
    """The student has a part of the teacher's tokens; the others are spelled in pieces."""

    def __init__(
        self, teacher_tokenizer: Any, student_tokenizer: Any, vocabulary: VocabularyMap
    ) -> None:
        super().__init__(student_tokenizer, vocabulary)
        self._teacher_ids = vocabulary.teacher_ids_K.tolist()
        self._student_ids = {old: new for new, old in enumerate(self._teacher_ids)}
        self._pieces = cache(
            lambda token: tuple(pieces_of(teacher_tokenizer, student_tokenizer, token))
        )

    def to_student(self, teacher_ids: Sequence[int]) -> tuple[int, ...]:
        ids: list[int] = []
        for token in teacher_ids:
            kept = self._student_ids.get(token)
            ids.extend(self._pieces(token) if kept is None else (kept,))
        return tuple(ids)

    def to_teacher(self, student_ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._teacher_ids[token] for token in student_ids)

    def beside(self, student_ids: Sequence[int]) -> Aligned:
        return Aligned(tuple(student_ids), self.to_teacher(student_ids), _units(len(student_ids)))


def same_tokens(one: Any, other: Any) -> bool:
    """Tell whether two tokenizers number the same tokens alike; how they cut text may differ."""
    return one is other or bool(one.get_vocab() == other.get_vocab())


def _units(count: int) -> tuple[Span, ...]:
    return tuple(Span(i, i + 1, i, i + 1) for i in range(count))
