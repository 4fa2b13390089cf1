"""Block influence: how much a block changes its hidden states, a cheap first look."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.shrink.streams import Batch, advance


@torch.inference_mode()
def block_influence(model: LoadedModel, batches: Sequence[Batch]) -> list[float]:
    """Return for each block 1 - mean cosine(input, output) over tokens (Men et al. 2024,

    ShortGPT, arXiv 2403.03853, equation 1). Small means that the block changes little; what
    is lost without it, after healing, is another question.
    """
    blocks = blocks_of(model.network)
    changes = [0.0] * len(blocks)
    tokens = sum(int(batch.real_BT.sum()) for batch in batches)
    for batch in batches:
        hidden_BTD = batch.hidden_BTD
        for number, block in enumerate(blocks):
            after_BTD = advance(block, hidden_BTD, batch.block_kwargs[number])
            cosine_BT = F.cosine_similarity(hidden_BTD.float(), after_BTD.float(), dim=-1)
            changes[number] += float((1 - cosine_BT)[batch.real_BT].sum())
            hidden_BTD = after_BTD
    return [change / tokens for change in changes]
