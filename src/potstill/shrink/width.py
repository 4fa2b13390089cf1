"""Make every block narrower: fewer feed-forward channels, fewer heads.

A vanilla config has one width for all blocks, so every block keeps equally many; which ones is
each block's own affair. Heads go in whole groups: a key-value head with all query heads that read
it. What is cut is checked, not assumed: the sliced network has to compute what the whole one does
with the removed parts silenced, and its config has to describe a network of the same shapes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from potstill.errors import PotstillError
from potstill.models.load import blocks_of, body_of
from potstill.models.parts import Attention, FeedForward, attention_of, feed_forward_of
from potstill.shrink.cut import KeptRows

_CHANNEL_KEYS = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
_PROBE_TOKENS = 12
# Words in the names of what tells one kind of attention from another: too far for a few tokens.
_KINDS = ("window", "sliding", "attention_type", "layer_type", "chunk", "rope")


def feed_forwards(network: Any) -> list[FeedForward]:
    """Return every block's feed-forward part; raises PotstillError where channels cannot go."""
    found = [feed_forward_of(block) for block in blocks_of(network)]
    known = [part for part in found if part is not None]
    if len(known) < len(found) or len({part.channels for part in known}) != 1:
        raise PotstillError(
            f"potstill cannot cut feed-forward channels of {type(network).__name__}: its blocks "
            "are no plain feed-forward parts of one width; remove shrink.ffn_channels, and `ffn` "
            "from shrink.axes"
        )
    return known


def attentions(network: Any) -> list[Attention]:
    """Return every block's attention; raises PotstillError where heads cannot go."""
    found = [attention_of(block) for block in blocks_of(network)]
    known = [part for part in found if part is not None]
    if len(known) < len(found) or len({(p.kv_heads, p.group, p.head_dim) for p in known}) != 1:
        raise PotstillError(
            f"potstill cannot cut attention heads of {type(network).__name__}: queries, keys and "
            "values are not separate maps of one width; remove shrink.kv_heads, and `heads` from "
            "shrink.axes"
        )
    return known


def possible_kv_heads(network: Any) -> list[int]:
    """Return the numbers of key-value heads, below the present one, that the config allows.

    Some architectures want the hidden size to be a multiple of the number of query heads.
    """
    first = attentions(network)[0]
    return [n for n in range(1, first.kv_heads) if _allowed(network, n, first)]


@torch.no_grad()
def narrow(network: Any, channels: KeptRows | None, kv_heads: KeptRows | None) -> None:
    """Keep only the given feed-forward channels and key-value heads of each block, in place.

    Raises PotstillError where the architecture cannot be cut so; the network is then spoilt.
    """
    if channels is None and kv_heads is None:
        return
    if channels is not None:
        _silence_channels(feed_forwards(network), channels)
    if kv_heads is not None:
        _silence_heads(network, attentions(network), kv_heads)
    silenced_BTD = _probe(network)
    if channels is not None:
        _slice_channels(network, channels)
    if kv_heads is not None:
        _slice_heads(network, kv_heads)
    if not _computes(network, silenced_BTD) or not describes_itself(network):
        raise PotstillError(
            f"potstill cannot narrow {type(network).__name__}: without the removed channels or "
            "heads it would compute something else; remove shrink.ffn_channels and "
            "shrink.kv_heads, and `ffn` and `heads` from shrink.axes"
        )


def _computes(network: Any, expected_BTD: Tensor) -> bool:
    """Return whether the network gives these states on the probe."""
    try:
        error = (_probe(network) - expected_BTD).norm() / expected_BTD.norm()
    except RuntimeError:  # what was not sliced along no longer fits
        return False
    return bool(error < 1e-3)


@torch.no_grad()
def describes_itself(network: Any) -> bool:
    """Return whether a network made from the config alone is the same: a reload's view.

    With the same tensors it has to be alike in what it is told of windows and kinds of blocks, and
    to compute the same of a few tokens. No weight is copied.
    """
    again = _made_again(network)
    if _shapes(again) != _shapes(network) or _kinds(again) != _kinds(network):
        return False
    again.load_state_dict(network.state_dict(), assign=True)
    return _computes(again.to(network.device), _probe(network))


def _made_again(network: Any) -> Any:
    """Return a network made from the config, its buffers real and its weights without memory."""

    def weightless(_: nn.Module, __: str, parameter: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(parameter.to("meta"), requires_grad=False)

    handle = register_module_parameter_registration_hook(weightless)  # type: ignore[arg-type]
    try:
        return type(network)(copy.deepcopy(network.config)).eval()
    finally:
        handle.remove()


def _kinds(network: nn.Module) -> dict[str, object]:
    """Return by name what modules hold about which keys they attend to and how they turn them."""
    return {
        f"{name}.{key}": value
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if any(word in key for word in _KINDS) and isinstance(value, int | str | None)
    }


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict(keep_vars=True).items()}


def _probe(network: Any) -> Tensor:
    """Return final hidden states_BTD on a few tokens."""
    width = network.config.get_text_config().vocab_size
    ids_BT = torch.arange(1, _PROBE_TOKENS + 1, device=network.device)[None] * 7 % width
    hidden_BTD: Tensor = body_of(network)(input_ids=ids_BT, use_cache=False).last_hidden_state
    return hidden_BTD.float()


def _silence_channels(parts: Sequence[FeedForward], channels: KeptRows) -> None:
    """Set the removed channels' columns of each writer to zero."""
    _check_kept("shrink.ffn_channels", channels, len(parts), parts[0].channels)
    for part, kept in zip(parts, channels, strict=True):
        part.writer.weight *= _mask(part.channels, kept, part.writer.weight)


def _silence_heads(network: Any, parts: Sequence[Attention], kv_heads: KeptRows) -> None:
    """Set the removed heads' columns of each writer to zero."""
    first = parts[0]
    _check_kept("shrink.kv_heads", kv_heads, len(parts), first.kv_heads)
    count = len(kv_heads[0])
    if count < first.kv_heads and not _allowed(network, count, first):
        possible = ", ".join(map(str, possible_kv_heads(network))) or "none fewer"
        raise PotstillError(
            f"shrink.kv_heads is {count}, but {type(network).__name__} allows only these numbers "
            f"of key-value heads below its own {first.kv_heads}: {possible}"
        )
    for part, kept in zip(parts, kv_heads, strict=True):
        columns = _columns(kept, part.group_width)
        part.writer.weight *= _mask(part.writer.in_features, columns, part.writer.weight)


def _check_kept(field: str, kept: KeptRows, blocks: int, width: int) -> None:
    counts = {len(row) for row in kept}
    valid = len(kept) == blocks and len(counts) == 1 and counts != {0}
    valid = valid and all(sorted(set(row)) == list(row) for row in kept)
    if not valid or any(row[-1] >= width or row[0] < 0 for row in kept):
        raise PotstillError(f"{field} must leave from 1 to {width} in each block, equally many")


def _slice_channels(network: Any, channels: KeptRows) -> None:
    config = network.config.get_text_config()
    parts = feed_forwards(network)
    # A config that leaves its width unsaid (n_inner: null) has to say it from now on.
    known = [k for k in _CHANNEL_KEYS if hasattr(config, k)]
    setattr(config, known[0] if known else _CHANNEL_KEYS[0], len(channels[0]))
    for part, kept in zip(parts, channels, strict=True):
        for reader in part.readers:
            _keep_rows(reader, kept)
        _keep_columns(part.writer, kept)


def _slice_heads(network: Any, kv_heads: KeptRows) -> None:
    parts = attentions(network)
    count = len(kv_heads[0])
    _set_heads(network.config.get_text_config(), count, parts[0])
    for part, kept in zip(parts, kv_heads, strict=True):
        heads = count * part.group
        rows, columns = _columns(kept, part.head_dim), _columns(kept, part.group_width)
        _keep_rows(part.key, rows)
        _keep_rows(part.value, rows)
        _keep_rows(part.query, columns)
        _keep_columns(part.writer, columns)
        module: Any = part.module
        for name, value in (
            ("num_heads", heads),
            ("num_attention_heads", heads),
            ("num_key_value_heads", count),
        ):
            if hasattr(module, name):
                setattr(module, name, value)


def _set_heads(config: Any, count: int, part: Attention) -> None:
    config.num_attention_heads = count * part.group
    config.num_key_value_heads = count
    # Otherwise a head's width would be read off the (unchanged) hidden size.
    config.head_dim = part.head_dim


def _allowed(network: Any, count: int, part: Attention) -> bool:
    """Return whether the architecture's config takes so many key-value heads."""
    config = copy.deepcopy(network.config.get_text_config())
    try:
        _set_heads(config, count, part)
        validate = getattr(config, "validate_architecture", None)
        if validate is not None:
            validate()
    except ValueError:
        return False
    return True


def _columns(kept: Sequence[int], width: int) -> list[int]:
    """Return the positions of whole groups of `width`."""
    return [index * width + i for index in kept for i in range(width)]


def _mask(width: int, kept: Sequence[int], like: Tensor) -> Tensor:
    mask_F = torch.zeros(width, device=like.device, dtype=like.dtype)
    mask_F[list(kept)] = 1
    return mask_F


def _keep_rows(linear: nn.Linear, kept: Sequence[int]) -> None:
    index_K = torch.tensor(kept, device=linear.weight.device)
    linear.weight = nn.Parameter(linear.weight[index_K].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias[index_K].clone())
    linear.out_features = len(kept)


def _keep_columns(linear: nn.Linear, kept: Sequence[int]) -> None:
    index_K = torch.tensor(kept, device=linear.weight.device)
    linear.weight = nn.Parameter(linear.weight[:, index_K].clone())
    linear.in_features = len(kept)
