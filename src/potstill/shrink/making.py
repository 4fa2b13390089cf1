"""Make the student that a cut describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from potstill.errors import PotstillError
from potstill.models.load import trainable_copy
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.shrink.blocks import drop_blocks
from potstill.shrink.cut import Cut
from potstill.shrink.vocabulary import map_of, trim_network, trimmed_tokenizer
from potstill.shrink.width import describes_itself, narrow


def pruned(teacher: LoadedModel, cut: Cut) -> tuple[LoadedModel, VocabularyMap | None]:
    """Return the teacher with the cut made and nothing healed, in fp32, and its token map.

    The teacher in memory may be in bf16: its fp32 weights are read from where it came from.
    Raises PotstillError where the architecture cannot be cut so.
    """
    student = trainable_copy(teacher)
    narrow(student.network, cut.channels, cut.kv_heads)
    if cut.blocks:
        drop_blocks(student.network, cut.blocks)
        if not describes_itself(student.network):
            raise PotstillError(
                f"potstill cannot drop blocks of {type(student.network).__name__}: its config does "
                "not say of each block what it is like; set shrink.drop_layers to 0, and remove "
                "shrink.blocks and `depth` from shrink.axes"
            )
    vocabulary = None
    if cut.kept_tokens is not None:
        eos_ids = _kept_ends(teacher, cut.kept_tokens)
        width = student.network.get_output_embeddings().weight.shape[0]
        tokenizer = trimmed_tokenizer(teacher.tokenizer, cut.kept_tokens)
        vocabulary = map_of(teacher.tokenizer, tokenizer, cut.kept_tokens, width)
        trim_network(student.network, cut.kept_tokens)
        student = replace(
            student,
            tokenizer=tokenizer,
            conversation=teacher.conversation.with_tokenizer(tokenizer, eos_ids),
            eos_ids=eos_ids,
        )
    return student, vocabulary


def _kept_ends(teacher: LoadedModel, kept: Sequence[int]) -> tuple[int, ...]:
    """Return the student's numbers of the teacher's end tokens, all of which must be there."""
    new_ids = {old: new for new, old in enumerate(kept)}
    for end in teacher.eos_ids:
        if end not in new_ids:
            raise PotstillError(
                f"token {end} ends the teacher's answers, and is not among the {len(kept)} tokens "
                "that the student keeps; run shrink again"
            )
    return tuple(new_ids[end] for end in teacher.eos_ids)
