"""A student that learns a teacher's distributions speaks as its teacher does."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

from potstill.errors import PotstillError
from potstill.models.alignment import same_tokens
from potstill.models.conversation import Conversation
from potstill.models.loaded import LoadedModel

_MOST_NAMED = 4  # tokens in a sentence


def require_same_tokens(teacher: Conversation, student: Conversation) -> None:
    """Raise PotstillError unless both models number the same tokens alike."""
    if not same_tokens(teacher.tokenizer, student.tokenizer):
        raise PotstillError(
            f"student.model {student.name} has another tokenizer than the teacher "
            f"({len(student.tokenizer)} tokens against {len(teacher.tokenizer)}); take a student "
            "with the teacher's tokenizer, or leave student.model out to make one from the teacher"
        )


def differences(teacher: Conversation, student: Conversation) -> list[str]:
    """Return in words in what two models with the same tokens speak differently."""
    found = []
    ours, theirs = student.tokenizer.chat_template, teacher.tokenizer.chat_template
    if ours != theirs:
        found.append(f"its chat template ({_template(ours)} there, {_template(theirs)} here)")
    if _cut(student) != _cut(teacher):
        found.append("how text is cut into its tokens (merges or rules)")
    if set(student.stop_ids) != set(teacher.stop_ids):
        found.append(f"its end tokens ({_names(student)} there, {_names(teacher)} here)")
    return found


def adopted(student: LoadedModel, teacher: LoadedModel) -> LoadedModel:
    """Return a student with the teacher's tokenizer, chat template, end tokens and generation.

    What its config says of special tokens is the teacher's from here on. Raises PotstillError
    where their tokens differ.
    """
    require_same_tokens(teacher.conversation, student.conversation)
    network = student.network
    network.generation_config = copy.deepcopy(teacher.network.generation_config)
    ours, theirs = (m.network.config.get_text_config() for m in (student, teacher))
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(ours, name, getattr(theirs, name, None))
    return replace(
        student,
        tokenizer=teacher.tokenizer,
        tokenizer_id=teacher.tokenizer_id,
        conversation=teacher.conversation,
        eos_ids=teacher.conversation.stop_ids,
    )


def _cut(spoken: Conversation) -> Any:
    """Return what decides how text is cut up: all of a tokenizer that is no padding."""
    state = json.loads(spoken.tokenizer.backend_tokenizer.to_str())
    return {key: value for key, value in state.items() if key not in ("truncation", "padding")}


def _template(template: Any) -> str:
    return f"one of {len(str(template))} characters" if template else "none"


def _names(spoken: Conversation) -> str:
    names = [str(spoken.tokenizer.convert_ids_to_tokens(i)) for i in spoken.stop_ids]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
