"""What reads the tokens of the rows that are being decoded: plain blocks, or the network's own.

On a CPU, networks built like Llama are read by `cohorts.py`. Before a network is, a few tokens are
read both ways, and where states differ by more than rounding, or the network has other parts, its
own modules read, with a cache of slots: slower, and for every decoder that transformers has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache

from potstill.models.cohorts import CohortRows
from potstill.models.load import body_of
from potstill.models.loaded import LoadedModel
from potstill.models.plain_body import PlainBody
from potstill.models.score import padded
from potstill.models.slots import SlotCache

# How far states may lie apart, by their own size, before it is more than rounding: in bf16, both
# ways lie 0.02 from fp32 and from one another after 30 blocks.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.01}
_TRIED = (
    "The quick brown fox jumps over the lazy dog",
    "Once upon a time",
    "What is the capital of France? It is Paris, of course.",
)


class DecodedRows(Protocol):
    """The rows that are being decoded, in an order of their own."""

    def admit(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Add a row for each prompt behind the others; return hidden_ND of their last tokens."""
        ...

    def step(self, token_B: Tensor) -> Tensor:
        """Feed every row a token; return hidden_BD, which predict the next ones."""
        ...

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Take rows out; return for each row that is left which one it was."""
        ...


def rows_of(
    model: LoadedModel, prompts: Sequence[Sequence[int]], *, slots: int, room: int
) -> DecodedRows:
    """Return what decodes at most `slots` of these prompts at once, `room` tokens each."""
    body = plain_body(model)
    if body is not None:
        return CohortRows(body, prompts, room)
    return ModuleRows(model, slots, max(map(len, prompts)) + room)


class ModuleRows:
    """Rows read by the network's own modules, with their keys and values in slots."""

    def __init__(self, model: LoadedModel, slots: int, capacity: int) -> None:
        self.model = model
        self.config = model.network.config.get_text_config()
        self.cache = SlotCache(self.config.num_hidden_layers, slots, capacity, model.device)
        self.position_B = torch.zeros(0, dtype=torch.long, device=model.device)

    def admit(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read prompts, padded on the right, into the next free slots."""
        device = self.model.device
        ids_NT = padded(prompts).to(device)
        prefilled = DynamicCache()
        output = body_of(self.model.network)(input_ids=ids_NT, cache=prefilled, use_cache=True)
        taken = len(self.position_B)
        self.cache.fill(torch.arange(taken, taken + len(prompts), device=device), prefilled)
        length_N = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self.position_B = torch.cat((self.position_B, length_N))
        rows_N = torch.arange(len(prompts), device=device)
        hidden_ND: Tensor = output.last_hidden_state[rows_N, length_N - 1]
        return hidden_ND

    def step(self, token_B: Tensor) -> Tensor:
        """Feed every row a token through the network's own forward."""
        self.cache.aim(self.position_B)
        output = body_of(self.model.network)(
            input_ids=token_B[:, None],
            position_ids=self.position_B[:, None],
            attention_mask=self.cache.masks(self.config),
            cache=self.cache,
            use_cache=True,
        )
        self.position_B = self.position_B + 1
        hidden_BD: Tensor = output.last_hidden_state[:, 0]
        return hidden_BD

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Take rows out; the last ones move into their slots."""
        count = len(self.position_B)
        kept = [b for b in range(count) if b not in set(gone)]
        order = list(range(len(kept)))
        moved = [b for b in kept if b >= len(kept)]
        for hole, mover in zip((b for b in gone if b < len(kept)), moved, strict=True):
            order[hole] = mover
            self.cache.move(mover, hole)
        self.position_B = self.position_B[order]
        return order


_found: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def plain_body(model: LoadedModel) -> PlainBody | None:
    """Return a network's blocks if `cohorts.py` may read them, None where its modules have to.

    A network is tried once.
    """
    body = PlainBody.of(model.network) if model.device.type == "cpu" else None
    if body is None:
        return None
    if model.network not in _found:
        try:
            _found[model.network] = agrees(model, body)
        except RuntimeError:  # shapes that do not fit: only a part of each head is rotated, say
            _found[model.network] = False
    return body if _found[model.network] else None


@torch.inference_mode()
def agrees(model: LoadedModel, body: PlainBody) -> bool:
    """Tell whether plain blocks read a few sentences as the network's own forward does."""
    texts = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in _TRIED]
    texts = [ids for ids in texts if len(ids) > 1]
    if not texts:
        return False
    rows = CohortRows(body, [ids[:-1] for ids in texts], room=1)
    ends_ND = rows.admit([ids[:-1] for ids in texts])
    found_ND = torch.cat((ends_ND, rows.step(torch.tensor([ids[-1] for ids in texts])))).float()
    output = body_of(model.network)(input_ids=padded(texts), use_cache=False)
    states_NTD = output.last_hidden_state
    places = [(n, len(ids) - back) for back in (2, 1) for n, ids in enumerate(texts)]
    own_ND = torch.stack([states_NTD[n, at] for n, at in places]).float()
    # The middle one: a single state may be all rounding (one that is not its text's usual kind).
    apart = ((found_ND - own_ND).norm(dim=-1) / own_ND.norm(dim=-1)).median()
    return bool(apart <= _ROUNDING.get(states_NTD.dtype, 0.0))
