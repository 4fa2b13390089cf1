"""Run a model block by block over calibration text, so that no pass is repeated."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.models.inner import output_of, watched
from potstill.models.load import blocks_of, body_of
from potstill.models.loaded import LoadedModel
from potstill.models.precision import fast_products
from potstill.models.score import length_batches, padded

# Columns of a Gram matrix that are multiplied at once.
_STRIP = 384
# Tokens that are read by the whole model and block by block, and how far the two may lie apart by
# their own size: the same products are taken, but two kinds of rounding may meet.
_TRIED_TOKENS, _ROUNDING = 32, 1e-2
# Positions on which it is tried how a block writes.
PROBED = 8


@dataclass(frozen=True)
class Batch:
    """One batch of calibration text on its way into the first block.

    `block_kwargs[i]` is what the model passes to block i besides hidden states (masks and
    position embeddings differ between kinds of blocks). `real_BT` is false at padding.
    `probe_kwargs` are the same where the first row's first `PROBED` positions are read alone.
    """

    hidden_BTD: Tensor
    real_BT: Tensor
    block_kwargs: list[dict[str, Any]]
    probe_kwargs: list[dict[str, Any]]


@torch.inference_mode()
def calibration_batches(
    model: LoadedModel, rows: Sequence[Sequence[int]], *, batch_tokens: int = 2048
) -> list[Batch]:
    """Return the batches of `rows` as the model's own forward pass hands them to its blocks.

    Raises PotstillError where the blocks, run one after another, give something else than the
    model does: where they share keys, say, or carry more than one state a token.
    """
    if rows:
        _check_one_by_one(model, rows[0][:_TRIED_TOKENS])
    batches = []
    for indices in length_batches([len(r) for r in rows], batch_tokens):
        chosen = [rows[i] for i in indices]
        lengths_B = torch.tensor([len(r) for r in chosen])
        ids_BT = padded(chosen)
        real_BT = torch.arange(ids_BT.shape[1])[None, :] < lengths_B[:, None]
        ids_BT = ids_BT.to(model.device)
        hidden_BTD, kwargs = _captured(model, ids_BT)
        _, few = _captured(model, ids_BT[:1, :PROBED])
        batches.append(Batch(hidden_BTD, real_BT.to(model.device), kwargs, few))
    return batches


def _check_one_by_one(model: LoadedModel, row: Sequence[int]) -> None:
    """Raise PotstillError unless the blocks alone give what the whole model does of a few ids."""
    ids_1T = padded([row]).to(model.device)
    blocks = blocks_of(model.network)
    try:
        with watched(list(blocks), [len(blocks) - 1]) as found:
            body_of(model.network)(input_ids=ids_1T, use_cache=False)
        hidden_1TD, by_block = _captured(model, ids_1T)
        for block, kwargs in zip(blocks, by_block, strict=True):
            hidden_1TD = advance(block, hidden_1TD, kwargs)
        own_1TD = found[len(blocks) - 1]
        same = own_1TD.shape == hidden_1TD.shape and hidden_1TD.shape[:-1] == ids_1T.shape
        apart = float((own_1TD - hidden_1TD).norm() / own_1TD.norm()) if same else math.inf
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # whatever a network makes of being run in parts
        apart = math.inf
    if not apart <= _ROUNDING:
        raise PotstillError(
            f"potstill cannot cut {type(model.network).__name__}: its blocks do not compute one "
            "after another what the whole model does; take a model of another architecture as the "
            "one that is cut, or name a smaller model in student.model"
        )


def _captured(model: LoadedModel, ids_BT: Tensor) -> tuple[Tensor, list[dict[str, Any]]]:
    """Return hidden_BTD, and what each block is given beside, without running any but the first.

    The others are made to hand their input on: only the arguments are wanted. The first one shows
    in what form a network of this kind expects what its blocks return.
    """
    first: list[Tensor] = []
    kwargs: list[dict[str, Any]] = []
    form: list[Any] = []
    blocks = blocks_of(model.network)

    def standing_in(block: Any) -> Callable[..., Any]:
        original = block.forward

        def noting(*args: Any, **given: Any) -> Any:
            hidden_BTD, rest = _given(original, args, given)
            kwargs.append(rest)
            if not first:
                first.append(hidden_BTD)
                form.append(original(*args, **given))
            return _in_form(hidden_BTD, form[0])

        return noting

    own = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        block.forward = standing_in(block)
    try:
        body_of(model.network)(input_ids=ids_BT, use_cache=False)
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del block.forward
            if forward is not None:
                block.forward = forward
    return first[0], kwargs


def _given(
    forward: Callable[..., Any], args: Sequence[Any], given: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Any]]:
    """Return the hidden states that a block is called with, and all else by its name."""
    signature = inspect.signature(forward)
    bound = signature.bind(*args, **given)
    named = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named |= named.pop(name, {})
    (hidden_BTD, *_) = named.values()
    rest = dict(list(named.items())[1:])
    if "use_cache" in signature.parameters or "use_cache" in given:
        rest["use_cache"] = False
    return hidden_BTD, rest


def _in_form(hidden_BTD: Tensor, result: Any) -> Any:
    """Return hidden states as a block returns them: alone, or first in a tuple."""
    return (hidden_BTD, *result[1:]) if isinstance(result, tuple) else hidden_BTD


def gram_of(input_NF: Tensor, *, into: Tensor) -> None:
    """Add x^T x to the fp32 sum `into`, which is symmetric and stays so.

    Only what is on and below the diagonal is multiplied, in strips; the rest mirrors it.
    """
    exact = input_NF.dtype == torch.bfloat16
    input_NF = input_NF.float()
    # What came in bf16 loses nothing when its products are taken from bf16 and added in fp32.
    with fast_products(bf16=exact):
        for first in range(0, input_NF.shape[1], _STRIP):
            end = first + _STRIP
            into[first:end, :end].addmm_(input_NF[:, first:end].T, input_NF[:, :end])
            into[:first, first:end] = into[first:end, :first].T


def advance(block: Any, hidden_BTD: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Return a block's output."""
    return output_of(block(hidden_BTD, **kwargs))


class TeacherStream:
    """The teacher's hidden states at the entry of each block, computed as far as asked for.

    Blocks have to be asked for in rising order, unless `keep` holds all of them in memory: then
    one stream serves many trials.
    """

    def __init__(
        self, teacher: LoadedModel, batches: Sequence[Batch], *, keep: bool = False
    ) -> None:
        self._blocks = blocks_of(teacher.network)
        # States travel in fp32, the teacher's weights may be in bf16.
        self._autocast = partial(
            torch.autocast,
            teacher.device.type,
            teacher.compute_dtype,
            enabled=teacher.compute_dtype != torch.float32,
        )
        self._batches = batches
        self._states = [batch.hidden_BTD.float() for batch in batches]
        self._entered = 0
        self._kept: list[list[Tensor]] | None = [self._states] if keep else None
        self._grams: dict[tuple[int, int], Tensor] = {}

    @torch.no_grad()
    def at(self, number: int) -> list[Tensor]:
        """Return the states at the entry of block `number`; one past the last is the end."""
        while self._entered < number:
            self._advance()
        if self._kept is not None:
            return self._kept[number]
        if number != self._entered:
            raise ValueError("a stream that keeps nothing cannot go back")
        return self._states

    @torch.no_grad()
    def grams(self, number: int, writers: Sequence[nn.Linear]) -> list[Tensor]:
        """Return gram_FF = x^T x of what each of block `number`'s own maps reads, in fp32.

        The block runs for them on the stream's way to the next one, so that a stream that keeps
        nothing is past it afterwards; one that keeps states remembers them.
        """
        missing = [w for w in writers if (number, id(w)) not in self._grams]
        if missing:
            found = self._summed(number, missing)
            self._grams |= {(number, id(w)): g for w, g in zip(missing, found, strict=True)}
        result = [self._grams[number, id(w)] for w in writers]
        if self._kept is None:
            self._grams.clear()
        return result

    def _summed(self, number: int, writers: Sequence[nn.Linear]) -> list[Tensor]:
        states = self.at(number)
        sums = [torch.zeros(w.in_features, w.in_features, device=w.weight.device) for w in writers]
        after = []
        for state_BTD, batch in zip(states, self._batches, strict=True):
            handles = [
                w.register_forward_pre_hook(partial(_note, real_BT=batch.real_BT, into=g))
                for w, g in zip(writers, sums, strict=True)
            ]
            try:
                after.append(self._through(number, state_BTD, batch))
            finally:
                for handle in handles:
                    handle.remove()
        if number == self._entered:
            self._enter(after)
        return sums

    def _advance(self) -> None:
        number = self._entered
        pairs = zip(self._states, self._batches, strict=True)
        self._enter([self._through(number, state, batch) for state, batch in pairs])

    def _through(self, number: int, state_BTD: Tensor, batch: Batch) -> Tensor:
        with self._autocast(), fast_products():
            kwargs = batch.block_kwargs[number]
            return advance(self._blocks[number], state_BTD, kwargs).float()

    def _enter(self, states: list[Tensor]) -> None:
        """Take the states after the block that was entered last."""
        self._states = states
        self._entered += 1
        if self._kept is not None:
            self._kept.append(states)


def _note(_: nn.Module, args: tuple[Tensor, ...], *, real_BT: Tensor, into: Tensor) -> None:
    gram_of(args[0][real_BT], into=into)
