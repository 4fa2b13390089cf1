"""What the student learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3


@dataclass(frozen=True)
class TrainingExample:
    """One exchange in the student's token ids.

    `response_ids` ends with the end-of-sequence token where the teacher stopped, so that the
    student learns to stop; where a response was cut off, nothing follows it. `by_text`: there is
    no distribution to learn, and cross-entropy teaches the text. `own`: the student wrote the
    response itself, which cross-entropy never teaches.
    """

    exchange_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    by_text: bool = False
    own: bool = False

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt_ids) + len(self.response_ids)


def plan_digest(examples: Sequence[TrainingExample], steps: Sequence[Sequence[int]]) -> str:
    """Return what a checkpoint has to agree with: the examples and their order."""
    hasher = blake3()
    for step in steps:
        for index in step:
            hasher.update(examples[index].exchange_id.encode())
        hasher.update(b"|")
    return hasher.hexdigest(length=16)
