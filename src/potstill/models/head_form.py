"""How a network turns its final hidden state into logits, learnt from its own forward.

Configs do not tell: `logits_scaling` divides in one family and multiplies in another, and some
scale or cap by fields of other names. So a few positions go through the whole network, and the
reading that gives its logits is the right one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.models.checked import first_words
from potstill.models.head import HeadForm

# Largest difference from the network's own logits, as a share of their range.
TOLERANCE = 1e-4
# Below this a reading is right but for rounding, and no other is looked for.
_ROUNDING = 1e-5
# Two passes over the same ids may differ by the rounding of the weights' dtype, not by more.
_PASSES = 0.1
_POSITIONS = 4
# Rows of the head that are in fp32 at once.
_ROWS_AT_ONCE = 16384
_SCALES = (
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "output_multiplier",
    "logits_mup_width_multiplier",
)
_SOFTCAPS = ("final_logit_softcapping", "output_logit_soft_cap", "logits_soft_cap")


def stated_form(config: Any) -> HeadForm:
    """Return the reading that a text config's best-known fields suggest."""
    scale = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)
    if scale is None:
        scale = 1.0 / divisor if divisor else 1.0
    return HeadForm(float(scale), getattr(config, "final_logit_softcapping", None))


@torch.no_grad()
def learnt_form(network: Any, tokenizer: Any, device: torch.device, ref: str) -> HeadForm:
    """Return the scale and the soft cap that give a network's own logits.

    Compared in fp32 over a few positions, whatever the weights are held in. Raises PotstillError
    naming the architecture where no scale and soft cap of the output matrix gives them.
    """
    try:
        ids_1T = _probe_ids(network, tokenizer).to(device)
        hidden_TD, theirs_TV = _both_ends(network, ids_1T, ref)
        raw_TV = _product(network.get_output_embeddings(), hidden_TD)
    except (MemoryError, torch.OutOfMemoryError, PotstillError):
        raise
    except Exception as error:
        why = f"a few tokens cannot be read ({first_words(error)})"
        raise _refusal(network, ref, why) from error
    if not bool(torch.isfinite(hidden_TD).all()) or bool(theirs_TV.isnan().any()):
        raise PotstillError(
            f"the model {ref} ({type(network).__name__}) computes values that are not finite from "
            "a few tokens; check its config.json and weights"
        )
    width = min(raw_TV.shape[1], theirs_TV.shape[1])
    if width < min(len(tokenizer), raw_TV.shape[1]):
        raise _refusal(network, ref, "it gives fewer logits than it has tokens")
    raw_TV, theirs_TV = raw_TV[:, :width], theirs_TV[:, :width]
    form, difference = _nearest(network.config.get_text_config(), raw_TV, theirs_TV)
    if not difference <= TOLERANCE:
        raise _refusal(network, ref, f"they differ by {difference:.2g} of the logits' range")
    return form


def _nearest(config: Any, raw_TV: Tensor, theirs_TV: Tensor) -> tuple[HeadForm, float]:
    """Return the reading nearest to the network's logits, and how far off it is."""
    form = stated_form(config)
    difference = _difference(form, raw_TV, theirs_TV)
    if difference <= _ROUNDING:
        return form, difference
    caps = [None, *_numbers(config, _SOFTCAPS)]
    numbers = _numbers(config, _SCALES)
    scales = [1.0, *numbers, *(1.0 / n for n in numbers)]
    readings = [HeadForm(scale, cap) for cap in caps for scale in scales]
    form, difference = _first_least(readings, raw_TV, theirs_TV)
    if difference <= _ROUNDING:
        return form, difference
    measured = [HeadForm(scale, cap) for cap in caps for scale in _measured(cap, raw_TV, theirs_TV)]
    return _first_least([form, *measured], raw_TV, theirs_TV)


def _first_least(
    forms: list[HeadForm], raw_TV: Tensor, theirs_TV: Tensor
) -> tuple[HeadForm, float]:
    differences = [_difference(form, raw_TV, theirs_TV) for form in forms]
    least = min(range(len(forms)), key=lambda i: differences[i])
    return forms[least], differences[least]


def _measured(cap: float | None, raw_TV: Tensor, theirs_TV: Tensor) -> list[float]:
    """Return the scale that fits best, as it is and to six digits (no fields states it)."""
    x, y = raw_TV.double(), theirs_TV.double()
    if cap is not None:
        y = cap * torch.atanh(y / cap)
    good = x.isfinite() & y.isfinite()
    square = float((x[good] ** 2).sum())
    if square == 0.0:
        return []
    scale = float((x[good] * y[good]).sum()) / square
    return [float(f"{scale:.6g}"), scale]


def _difference(form: HeadForm, raw_TV: Tensor, theirs_TV: Tensor) -> float:
    """Return the largest difference, as a share of the range of the network's logits."""
    mine_TV = form.applied(raw_TV.clone())
    off_TV = torch.where(mine_TV == theirs_TV, 0.0, (mine_TV - theirs_TV).abs())
    finite = theirs_TV[theirs_TV.isfinite()]
    extent = float(finite.max() - finite.min()) if finite.numel() else 0.0
    most = float(off_TV.nan_to_num(nan=float("inf")).max())
    return 0.0 if most == 0.0 else most / extent if extent > 0.0 else float("inf")


def _numbers(config: Any, names: tuple[str, ...]) -> list[float]:
    values = [getattr(config, name, None) for name in names]
    return [float(v) for v in values if isinstance(v, int | float) and v]


def _both_ends(network: Any, ids_1T: Tensor, ref: str) -> tuple[Tensor, Tensor]:
    """Return final hidden states hidden_TD and the network's own logits_TV of them, in fp32."""
    weight_VD = getattr(network.get_output_embeddings(), "weight", None)
    if weight_VD is None or weight_VD.dim() != 2 or network.base_model is network:
        raise _refusal(network, ref, "its body and its output matrix cannot be told apart")
    with _tail_in_fp32(network) as seen:
        logits_TV = network(input_ids=ids_1T, use_cache=False).logits[0].float()
    if "hidden" in seen:
        return seen["hidden"], logits_TV
    # Some heads call a part of the body, or hand it more than ids: here it is read as potstill
    # reads it.
    hidden_TD = network.base_model(input_ids=ids_1T, use_cache=False).last_hidden_state[0]
    hidden_TD = hidden_TD.to(weight_VD.dtype).float()
    inside_TD = seen.get("inside", hidden_TD)
    if (hidden_TD - inside_TD).abs().max() > _PASSES * inside_TD.abs().max():
        raise _refusal(network, ref, "its body computes something else when it is read alone")
    return inside_TD, logits_TV


@contextmanager
def _tail_in_fp32(network: Any) -> Iterator[dict[str, Tensor]]:
    """Let what comes after a network's body run in fp32, and keep the hidden states it is given.

    Weights stay in their dtype, which fp32 holds exactly: the head's are widened a few rows at a
    time, or, where the head is more than a matrix, in a copy of it.
    """
    seen: dict[str, Tensor] = {}
    output = network.get_output_embeddings()

    def after_body(_: nn.Module, args: Any, named: dict[str, Any], result: Any) -> Any:
        # Some bodies end in fp32; potstill keeps states in the compute dtype, as their heads do.
        hidden_1TD = result[0].to(output.weight.dtype).float()
        handed = [value for value in (*args, *named.values()) if torch.is_tensor(value)]
        seen["hidden" if len(handed) == 1 else "inside"] = hidden_1TD[0]
        if isinstance(result, tuple):
            return (hidden_1TD, *result[1:])
        result.last_hidden_state = hidden_1TD
        return result

    def before_head(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        seen["given"] = args[0]
        return (args[0].to(module.weight.dtype), *args[1:])

    def after_head(_: nn.Module, __: Any, ___: Any) -> Tensor:
        return exact(seen["given"])

    handles = [network.base_model.register_forward_hook(after_body, with_kwargs=True)]
    if output.weight.dtype != torch.float32:
        exact = _exact(output)
        handles.append(output.register_forward_pre_hook(before_head))
        handles.append(output.register_forward_hook(after_head))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _exact(output: Any) -> Callable[[Tensor], Tensor]:
    """Return a head's own arithmetic in fp32."""
    if type(output) is nn.Linear:
        return partial(_product, output)
    wide = copy.deepcopy(output).float()
    return lambda hidden: wide(hidden.float())


def _product(output: Any, hidden: Tensor) -> Tensor:
    """Return the product of hidden states and a head's matrix, with its bias, in fp32."""
    bias_V = getattr(output, "bias", None)
    parts = [
        F.linear(
            hidden.float(),
            output.weight[start : start + _ROWS_AT_ONCE].float(),
            None if bias_V is None else bias_V[start : start + _ROWS_AT_ONCE].float(),
        )
        for start in range(0, output.weight.shape[0], _ROWS_AT_ONCE)
    ]
    return torch.cat(parts, dim=-1)


def _probe_ids(network: Any, tokenizer: Any) -> Tensor:
    """Return a few ids_1T from all over the vocabulary, no special ones."""
    rows = network.get_input_embeddings().weight.shape[0]
    plain = sorted(set(range(min(len(tokenizer), rows))) - set(tokenizer.all_special_ids)) or [0]
    step = max(len(plain) // _POSITIONS, 1)
    return torch.tensor([plain[step // 2 :: step][:_POSITIONS]])


def _refusal(network: Any, ref: str, why: str) -> PotstillError:
    name = type(network).__name__
    return PotstillError(
        f"potstill cannot work with {name}, the architecture of the model {ref}: its logits are "
        f"not its output matrix applied to its last hidden state, scaled and soft-capped ({why}); "
        "choose a model of another architecture"
    )
