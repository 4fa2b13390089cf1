"""What a model's blocks give: the states between them, which a network does not return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.models.load import blocks_of, body_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse, computing, length_batches, padded

# Tokens read at once: what a layer makes of them stays in a CPU's cache.
_CPU_TOKENS = 1024
_GPU_TOKENS = 8192


def output_of(result: Any) -> Tensor:
    """Return a block's hidden states, whether it returns them alone or first in a tuple.

    Raises PotstillError where they are more than one state a token (Gemma 3n's).
    """
    hidden_BTD: Tensor = result[0] if isinstance(result, tuple) else result
    if hidden_BTD.dim() != 3:
        raise PotstillError(
            "what a block of this model gives is not one state a token, which is all that potstill "
            "can follow from block to block; choose a model of another architecture"
        )
    return hidden_BTD


@contextmanager
def watched(blocks: Sequence[nn.Module], numbers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Yield what holds the states that some blocks give, by their number, once they have run.

    They are the residual stream behind the block, hidden_BTD, and part of the graph. What another
    thread runs through the blocks meanwhile is not kept.
    """
    found: dict[int, Tensor] = {}
    watching = get_ident()

    def keeping(number: int) -> Any:
        def keep(_: Any, __: Any, result: Any) -> None:
            if get_ident() == watching:
                found[number] = output_of(result)

        return keep

    handles = [blocks[number].register_forward_hook(keeping(number)) for number in numbers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def block_states(
    model: LoadedModel, texts: Sequence[PromptAndResponse], numbers: Sequence[int]
) -> dict[int, Tensor]:
    """Return by block the states hidden_ND that predict the responses, in the texts' order.

    `texts` are (prompt ids, response ids); a row stands for each response token of each text in
    turn, in the compute dtype, where the token before it was read. Padding is on the right, where
    causal attention cannot see it.
    """
    blocks, body = list(blocks_of(model.network)), body_of(model.network)
    most = _CPU_TOKENS if model.device.type == "cpu" else _GPU_TOKENS
    by_text: dict[int, list[Tensor]] = {n: [torch.empty(0)] * len(texts) for n in numbers}
    for batch in length_batches([len(p) + len(r) for p, r in texts], most):
        ids_BT = padded([[*texts[i][0], *texts[i][1]] for i in batch]).to(model.device)
        with computing(model), watched(blocks, numbers) as found:
            body(input_ids=ids_BT, use_cache=False)
        for row, i in enumerate(batch):
            prompt, response = texts[i]
            first = len(prompt) - 1
            for number, hidden_BTD in found.items():
                hidden_RD = hidden_BTD[row, first : first + len(response)]
                by_text[number][i] = hidden_RD.to(model.compute_dtype, copy=True)
    return {number: torch.cat(states) for number, states in by_text.items()}
