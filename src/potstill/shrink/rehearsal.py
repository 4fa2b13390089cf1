"""A cut of the asked sizes, made before anything is known of what is worth keeping."""

from __future__ import annotations

from dataclasses import replace

import torch

from potstill.errors import PotstillError
from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.recipe import ShrinkConfig
from potstill.shrink.choose import TokenRanking, asked_widths, searched_axes, trims_tokens
from potstill.shrink.cut import Cut
from potstill.shrink.importance import Ranking
from potstill.shrink.joint import Axes, check_target
from potstill.shrink.making import pruned
from potstill.shrink.sizes import Sizes, sizes_of


def rehearsed(parent: LoadedModel, config: ShrinkConfig) -> LoadedModel:
    """Return a student cut as `rehearsed_cut` says, in fp32. Without a cut it is a copy."""
    return pruned(parent, rehearsed_cut(parent, config))[0]


def rehearsed_cut(parent: LoadedModel, config: ShrinkConfig) -> Cut:
    """Return a cut as a recipe says, at places that nobody has chosen.

    Which blocks, channels, heads and tokens go takes the teacher's answers to say; that the
    recipe's numbers fit the parent does not. Where they do not, this raises PotstillError as
    `shrink` would after its teacher was paid. A search for `shrink.parameters` is stood for by
    one small step along each of its axes.
    """
    network = parent.network
    asked_widths(network, config)
    count = len(blocks_of(network)) if config.drop_layers or config.blocks is not None else 0
    if config.drop_layers and config.drop_layers >= count:
        raise PotstillError(
            f"shrink.drop_layers is {config.drop_layers}, but there are {count} blocks and "
            "one has to stay; drop fewer"
        )
    tokens = None
    if trims_tokens(config, parent.tokenizer):
        width = network.get_output_embeddings().weight.shape[0]
        tokens = TokenRanking(parent, torch.zeros(width))
    blocks = range(config.drop_layers) if config.blocks is None else config.blocks
    cut = Cut(
        blocks=tuple(sorted(blocks)),
        kept_tokens=tokens.kept(config.vocabulary) if tokens and config.vocabulary else None,
    )
    if config.ffn_channels or config.kv_heads or config.parameters is not None:
        cut = _narrowed(parent, config, cut, tokens)
    return cut


def _narrowed(
    parent: LoadedModel, config: ShrinkConfig, cut: Cut, tokens: TokenRanking | None
) -> Cut:
    """Return the cut with channels and heads gone, and one step along what is searched for."""
    sizes = sizes_of(parent.network)
    ranking = _in_order(sizes)
    if config.ffn_channels:
        cut = replace(cut, channels=ranking.kept_channels(config.ffn_channels))
    if config.kv_heads:
        cut = replace(cut, kv_heads=ranking.kept_kv_heads(config.kv_heads))
    if config.parameters is None:
        return cut
    searched = searched_axes(config)
    axes = Axes(
        sizes=sizes,
        blocks=tuple(range(1, len(sizes.block) - 1)) if "depth" in searched else (),
        ranking=Ranking(
            ranking.channels if "ffn" in searched else None,
            ranking.kv_heads if "heads" in searched else None,
        ),
    )
    if "vocabulary" in searched and tokens is not None:
        axes = replace(axes, tokens=tokens.kept, least_tokens=max(1, tokens.least))
    check_target(cut, int(config.parameters * sizes.whole), axes)
    return _one_step(cut, axes)


def _one_step(cut: Cut, axes: Axes) -> Cut:
    """Return the cut with the least that may go along every axis gone as well."""
    sizes, ranking = axes.sizes, axes.ranking
    if axes.blocks:
        cut = replace(cut, blocks=axes.blocks[:1])
    if ranking.channels is not None and sizes.channels > axes.grain:
        cut = replace(cut, channels=ranking.kept_channels(sizes.channels - axes.grain))
    if ranking.kv_heads is not None and sizes.possible_kv_heads:
        cut = replace(cut, kv_heads=ranking.kept_kv_heads(max(sizes.possible_kv_heads)))
    if axes.tokens is not None and sizes.tokens > axes.least_tokens:
        cut = replace(cut, kept_tokens=axes.tokens(sizes.tokens - 1))
    return cut


def _in_order(sizes: Sizes) -> Ranking:
    """Return channels and heads ranked as they stand; None where none can go."""
    blocks = len(sizes.block)
    return Ranking(
        (tuple(range(sizes.channels)),) * blocks if sizes.channel else None,
        (tuple(range(sizes.kv_heads)),) * blocks if sizes.possible_kv_heads else None,
    )
