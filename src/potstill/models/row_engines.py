"""What reads the tokens of the rows that are being decoded: plain blocks, or the network's own.

On a CPU, networks built like Llama are read by `cohorts.py`. Before a network is, a few tokens are
read both ways, and where states differ by more than rounding, or the network has other parts, its
own modules read, with a cache of slots: slower, and for many more decoders. What is kept in slots
is tried in the same way, and a network that cannot be read from them is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache

from potstill.errors import PotstillError
from potstill.models.cohorts import CohortRows
from potstill.models.load import body_of, context_length
from potstill.models.loaded import LoadedModel
from potstill.models.plain_body import PlainBody
from potstill.models.score import padded
from potstill.models.slots import SlotCache

# How far states may lie apart, by their own size, before it is more than rounding: in bf16, both
# ways lie 0.02 from fp32 and from one another after 30 blocks.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.01}
# In int8 a number on the edge of two steps falls to either.
_ROUNDING_INT8 = 0.1
# The same for the network's own modules, whose way there is one and the same: rounding may send a
# token to other experts, what is wrong lies further off.
_IN_SLOTS, _IN_SLOTS_ROUNDED = 1e-2, 0.2
# Tokens of a text that is tried, a window for it, and the last position that is looked at.
_LONGEST_TRIED, _NARROW, _FURTHEST = 64, 3, 2**20
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
    require_decodable(model)
    return ModuleRows(model, slots, max(map(len, prompts)) + room)


class ModuleRows:
    """Rows read by the network's own modules, with their keys and values in slots."""

    def __init__(self, model: LoadedModel, slots: int, capacity: int) -> None:
        self.model = model
        self.config = masked_by(model)
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


_found: WeakKeyDictionary[Any, tuple[int | None, ...] | None] = WeakKeyDictionary()
_decodes: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
_ignores: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def plain_body(model: LoadedModel) -> PlainBody | None:
    """Return a network's blocks if `cohorts.py` may read them, None where its modules have to.

    A network is tried once.
    """
    body = PlainBody.of(model.network) if model.device.type == "cpu" else None
    if body is None:
        return None
    if model.network not in _found:
        # A window may stand in a config whose network knows none.
        open_body = replace(body, windows=(None,) * len(body.windows))
        tried = dict.fromkeys((body.windows, open_body.windows))
        try:
            right = (w for w in tried if agrees(model, replace(body, windows=w)))
            _found[model.network] = next(right, None)
        except RuntimeError:  # shapes that do not fit: only a part of each head is rotated, say
            _found[model.network] = None
    windows = _found[model.network]
    return None if windows is None else replace(body, windows=windows)


def agrees(model: LoadedModel, body: PlainBody) -> bool:
    """Tell whether plain blocks read a few sentences as the network's own forward does.

    They do at the last positions that the network knows, where what some add from a position on
    (a scale of queries) adds to what all do, and with a window far shorter than the sentences
    where one is stated.
    """
    last = min(context_length(model), _FURTHEST) - _LONGEST_TRIED
    if not _reads_alike(model, body, max(0, last)):
        return False
    config = model.network.config.get_text_config()
    if getattr(config, "sliding_window", None) is None:
        return True
    narrow = replace(body, windows=tuple(w and _NARROW for w in body.windows))
    with _narrowed(config):
        return _reads_alike(model, narrow, 0)


def require_decodable(model: LoadedModel) -> None:
    """Raise PotstillError where a network's modules, fed token by token, give something else.

    Recurrent states, alibi and attention of other kinds are not kept in slots. A network is tried
    once.
    """
    if model.network not in _decodes:
        _decodes[model.network] = _whats_wrong(model)
    if _decodes[model.network]:
        raise PotstillError(
            f"potstill cannot write with {model.source}: {type(model.network).__name__}, read "
            f"token by token, {_decodes[model.network]}; have a server write with it "
            "(teacher.endpoint), or choose a model of another architecture"
        )


def _whats_wrong(model: LoadedModel) -> str:
    """Return what goes wrong where a network is read by its own modules; empty where nothing."""
    try:
        ids = _sentences(model, 3)
        if not ids:
            return ""
        rows = ModuleRows(model, len(ids), max(map(len, ids)))
        with torch.inference_mode():
            found = [rows.admit([row[:-2] for row in ids])]
            for back in (2, 1):
                token_B = torch.tensor([row[-back] for row in ids], device=model.device)
                found.append(rows.step(token_B))
        own = _own_states(model, ids, [3, 2, 1])
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # whatever a network makes of a cache that is not its own
        return "needs more of the tokens before than their keys and values"
    apart = _apart(torch.cat(found), own)
    allowed = _IN_SLOTS if own.dtype == torch.float32 and not model.int8 else _IN_SLOTS_ROUNDED
    return "" if apart <= allowed else "gives other states than read as a whole"


def _sentences(model: LoadedModel, least: int) -> list[list[int]]:
    """Return the ids of the sentences that have at least so many."""
    texts = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in _TRIED]
    return [list(ids)[:_LONGEST_TRIED] for ids in texts if len(ids) >= least]


@torch.inference_mode()
def _reads_alike(model: LoadedModel, body: PlainBody, first: int) -> bool:
    """Tell whether sentences whose first token stands at position `first` are read alike."""
    ids = _sentences(model, 2)
    if not ids:
        return False
    there = replace(body, first=first)
    rows = CohortRows(there, [row[:-1] for row in ids], room=1)
    ends_ND = rows.admit([row[:-1] for row in ids])
    found_ND = torch.cat((ends_ND, rows.step(torch.tensor([row[-1] for row in ids]))))
    own_ND = _own_states(model, ids, [2, 1], first)
    return _apart(found_ND, own_ND) <= _allowed(model, own_ND.dtype)


@torch.inference_mode()
def _own_states(
    model: LoadedModel, ids: Sequence[Sequence[int]], backs: Sequence[int], first: int = 0
) -> Tensor:
    """Return hidden_ND of each text's token that is `back` from its end, for each of the backs."""
    ids_NT = padded(ids).to(model.device)
    places = {}
    if first:
        place_T = first + torch.arange(ids_NT.shape[1], device=model.device)
        places["position_ids"] = place_T[None].expand_as(ids_NT)
    output = body_of(model.network)(input_ids=ids_NT, use_cache=False, **places)
    states_NTD = output.last_hidden_state
    return torch.stack([states_NTD[n, len(i) - b] for b in backs for n, i in enumerate(ids)])


def _apart(found_ND: Tensor, own_ND: Tensor) -> float:
    """Return how far states lie apart, by their own size.

    That of the middle one: a single state may be all rounding (one that is not its text's usual
    kind).
    """
    found_ND, own_ND = found_ND.float(), own_ND.float()
    apart_N = (found_ND - own_ND).norm(dim=-1) / own_ND.norm(dim=-1)
    return float(apart_N.median())


def _allowed(model: LoadedModel, dtype: torch.dtype) -> float:
    return _ROUNDING_INT8 if model.int8 else _ROUNDING.get(dtype, 0.0)


def masked_by(model: LoadedModel) -> Any:
    """Return the config by which a network hides keys: some state a window that is not used."""
    config = model.network.config.get_text_config()
    stated = getattr(config, "layer_types", None)
    if stated or getattr(config, "sliding_window", None) is None:
        return config
    if model.network not in _ignores:
        _ignores[model.network] = _ignores_window(model, config)
    if not _ignores[model.network]:
        return config
    config = copy.copy(config)
    config.sliding_window = None
    return config


def _ignores_window(model: LoadedModel, config: Any) -> bool:
    ids = _sentences(model, _NARROW + 1)
    if not ids:
        return False
    plain_ND = _own_states(model, ids, [1])
    with _narrowed(config):
        return torch.equal(plain_ND, _own_states(model, ids, [1]))


@contextmanager
def _narrowed(config: Any) -> Iterator[None]:
    """Have a config state a window that a few tokens reach beyond."""
    stated = config.sliding_window
    config.sliding_window = _NARROW
    try:
        yield
    finally:
        config.sliding_window = stated
