"""What training asks of a student, tried before there is anything to train on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from potstill.errors import PotstillError
from potstill.models.load import body_of, head_of
from potstill.models.loaded import LoadedModel
from potstill.recipe import TrainConfig
from potstill.train.compute import ComputeBody
from potstill.train.hidden_matching import matching_of
from potstill.train.lora import adapted
from potstill.train.packing import row_shape
from potstill.train.teacher_blocks import TeacherBlocks

_LONGEST = 32  # tokens of the rows that are tried
# Tokens that are read from ids and from embeddings, and how far the states may lie apart.
_TRIED, _ROUNDING = 12, 1e-2


def rehearse(
    student: LoadedModel,
    config: TrainConfig,
    teacher: LoadedModel | None = None,
    dropped: Sequence[int] | None = None,
) -> None:
    """Put adapters, frozen blocks, packing and checkpointing on a student, and take them off.

    `student` is one in fp32 that nobody needs afterwards: frozen weights stay frozen. Its hidden
    states are matched to those of the `teacher`, where there is one, whose blocks `dropped` it
    lacks. Raises PotstillError where a field of `train` does not fit it, as training would at its
    start.
    """
    _require_embedded(student)
    if teacher is not None:
        width = head_of(teacher).weight_VD.shape[1]
        matching_of(student, config, width, dropped, TeacherBlocks(teacher))
    with adapted(student.network, config.lora, frozen_blocks=config.frozen_blocks):
        body = ComputeBody(
            student.network,
            student.compute_dtype,
            _LONGEST,
            config.frozen_blocks,
            checkpointing=config.gradient_checkpointing,
        )
        row_shape(
            config.packing,
            body,
            longest=_LONGEST,
            micro_batch_tokens=min(config.micro_batch_tokens, _LONGEST),
        )


@torch.no_grad()
def _require_embedded(student: LoadedModel) -> None:
    """Raise PotstillError where a body makes more of ids than their embeddings (Gemma 3n's does).

    Training hands it embeddings.
    """
    network = student.network
    width = network.get_input_embeddings().weight.shape[0]
    ids_1T = (torch.arange(1, _TRIED + 1, device=student.device)[None] * 7) % width
    embedded_1TD = network.get_input_embeddings()(ids_1T)
    body = body_of(network)
    own = body(input_ids=ids_1T, use_cache=False).last_hidden_state.float()
    try:
        found = body(inputs_embeds=embedded_1TD, use_cache=False).last_hidden_state.float()
        same = bool((own - found).norm() <= _ROUNDING * own.norm())
    except (TypeError, ValueError, RuntimeError):  # it takes ids alone
        same = False
    if not same:
        raise PotstillError(
            f"potstill cannot train {type(network).__name__}: it makes more of tokens than its "
            "input embedding gives, which is all that training hands it; choose a student of "
            "another architecture"
        )


def asks_much(config: TrainConfig) -> bool:
    """Tell whether training asks anything of a student that not every one can give."""
    return (
        config.lora is not None
        or config.frozen_blocks > 0
        or config.packing == "packed"
        or config.gradient_checkpointing != "none"
        or config.hidden_matching is not None
    )
