"""What to cut: as the recipe says, or as searches by the loss after healing find it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from potstill.errors import PotstillError
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress
from potstill.recipe import ShrinkConfig
from potstill.shrink.cut import Cut
from potstill.shrink.importance import Ranking, rank
from potstill.shrink.influence import block_influence
from potstill.shrink.joint import Axes, search_cut
from potstill.shrink.search import search_blocks
from potstill.shrink.sizes import sizes_of
from potstill.shrink.streams import calibration_batches
from potstill.shrink.token_ids import named_ids
from potstill.shrink.trials import Trials, first_tokens, record
from potstill.shrink.vocabulary import choose_tokens, is_bpe, merges_of
from potstill.shrink.width import attentions, feed_forwards
from potstill.work.measure import Measure

# Channels and heads are ranked on this many times the tokens that a trial is healed on: it is
# done once.
_RANKED_ON = 4


def chosen_cut(
    teacher: LoadedModel,
    config: ShrinkConfig,
    calibration: Sequence[Sequence[int]],
    weight_V: Tensor | None,
    *,
    measure: Measure,
    progress: Progress,
) -> tuple[Cut, list[dict[str, Any]]]:
    """Return what to cut, and the trials that were made to find it.

    Blocks, channels, heads and tokens that the recipe numbers are taken as it says; the others
    are searched for where it names a share of the parameters. Arguments as for `shrink`.
    """
    if config.parameters is not None:
        (found,) = cuts_along(
            teacher,
            config,
            calibration,
            weight_V,
            [config.parameters],
            measure=measure,
            progress=progress,
        )
        return found
    trials = Trials(teacher, config, calibration, measure)
    ranking = _ranking(teacher, config, calibration, progress)
    cut = _given(teacher, config, ranking, weight_V)
    if config.blocks is not None or config.drop_layers == 0:
        return cut, []
    blocks, tried = search_blocks(
        teacher,
        trials.batches(cut.kept_tokens),
        config.drop_layers,
        candidates=config.candidates,
        beam=config.beam,
        healed_loss=lambda blocks: trials.loss(replace(cut, blocks=tuple(blocks))),
        progress=progress,
    )
    made = [record(replace(cut, blocks=t.blocks), t.kl, taken=t.blocks == blocks) for t in tried]
    return replace(cut, blocks=blocks), made


def cuts_along(
    teacher: LoadedModel,
    config: ShrinkConfig,
    calibration: Sequence[Sequence[int]],
    weight_V: Tensor | None,
    shares: Sequence[float],
    *,
    measure: Measure,
    progress: Progress,
) -> Iterator[tuple[Cut, list[dict[str, Any]]]]:
    """Yield a cut for each of several falling shares of the parameters, and its trials.

    Each goes on from the one before. `config.parameters` says that a search is wanted, and not
    how far. Raises PotstillError at the first share that is out of reach.
    """
    trials = Trials(teacher, config, calibration, measure)
    ranking = _ranking(teacher, config, calibration, progress)
    cut = _given(teacher, config, ranking, weight_V)
    axes = _axes(teacher, config, ranking, weight_V, trials, progress)
    whole = axes.sizes.whole
    for share in shares:
        cut, found = search_cut(
            cut,
            int(share * whole),
            axes,
            step=max(1, int(config.step * whole)),
            candidates=config.candidates,
            loss=trials.loss,
            progress=progress,
        )
        yield cut, found


def searched_axes(config: ShrinkConfig) -> set[str]:
    """Return the axes that a joint search may cut: those that the recipe does not number."""
    if config.parameters is None:
        return set()
    given = {
        "depth": config.blocks is not None,
        "ffn": config.ffn_channels is not None,
        "heads": config.kv_heads is not None,
        "vocabulary": config.vocabulary is not None,
    }
    return {axis for axis in config.axes if not given[axis]}


def trims_tokens(config: ShrinkConfig, tokenizer: Any) -> bool:
    """Return whether tokens go, or a search may let them go: then `shrink` wants their weights."""
    if config.vocabulary is not None:
        return True
    return "vocabulary" in searched_axes(config) and is_bpe(tokenizer)


def asked_widths(network: Any, config: ShrinkConfig) -> tuple[bool, bool]:
    """Return whether the recipe numbers channels, and heads.

    Raises PotstillError where it asks for more of these, or of tokens, than there are, or the
    network has none to cut.
    """
    tokens = network.get_input_embeddings().weight.shape[0]
    if config.vocabulary is not None and config.vocabulary > tokens:
        raise PotstillError(
            f"shrink.vocabulary is {config.vocabulary}, but there are only {tokens} tokens; ask "
            "for fewer, or remove shrink.vocabulary"
        )
    channels, heads = config.ffn_channels is not None, config.kv_heads is not None
    if config.ffn_channels is not None:
        _check("ffn_channels", config.ffn_channels, feed_forwards(network)[0].channels)
    if config.kv_heads is not None:
        _check("kv_heads", config.kv_heads, attentions(network)[0].kv_heads)
    return channels, heads


def _given(
    teacher: LoadedModel, config: ShrinkConfig, ranking: Ranking, weight_V: Tensor | None
) -> Cut:
    """Return what the recipe numbers."""
    kept_tokens = None
    if config.vocabulary is not None and weight_V is not None:
        kept_tokens = TokenRanking(teacher, weight_V).kept(config.vocabulary)
    return Cut(
        blocks=tuple(sorted(config.blocks or ())),
        kept_tokens=kept_tokens,
        channels=ranking.kept_channels(config.ffn_channels) if config.ffn_channels else None,
        kv_heads=ranking.kept_kv_heads(config.kv_heads) if config.kv_heads else None,
    )


def _ranking(
    teacher: LoadedModel,
    config: ShrinkConfig,
    calibration: Sequence[Sequence[int]],
    progress: Progress,
) -> Ranking:
    """Return the order in which channels and heads can go, where any may.

    A recipe that asks for more than there are is refused; an axis of a joint search that the
    architecture does not have is left out with a notice.
    """
    searched = searched_axes(config)
    channels, heads = asked_widths(teacher.network, config)
    sizes = sizes_of(teacher.network)
    channels = channels or _has("ffn", "ffn" in searched, sizes.channel > 0, progress)
    heads = heads or _has("heads", "heads" in searched, bool(sizes.possible_kv_heads), progress)
    if not (channels or heads):
        return Ranking()
    rows = first_tokens(calibration, _RANKED_ON * config.trial_tokens)
    batches = calibration_batches(teacher, rows)
    return rank(
        teacher, batches, channels=channels, heads=heads, ridge=config.ridge, progress=progress
    )


def _axes(
    teacher: LoadedModel,
    config: ShrinkConfig,
    ranking: Ranking,
    weight_V: Tensor | None,
    trials: Trials,
    progress: Progress,
) -> Axes:
    """Return what the joint search may cut."""
    searched = searched_axes(config)
    axes = Axes(
        sizes=sizes_of(teacher.network),
        ranking=Ranking(
            ranking.channels if "ffn" in searched else None,
            ranking.kv_heads if "heads" in searched else None,
        ),
    )
    if "depth" in searched:
        influence = block_influence(teacher, trials.batches())
        # The first and the last block are never proposed: see `search_blocks`.
        inner = sorted(range(1, len(influence) - 1), key=lambda block: influence[block])
        axes = replace(axes, blocks=tuple(inner))
    if _has("vocabulary", "vocabulary" in searched, weight_V is not None, progress):
        assert weight_V is not None
        tokens = TokenRanking(teacher, weight_V)
        axes = replace(axes, tokens=tokens.kept, least_tokens=max(1, tokens.least))
    return axes


class TokenRanking:
    """Which tokens stay, for any number of them."""

    def __init__(self, teacher: LoadedModel, weight_V: Tensor) -> None:
        named = named_ids(teacher.network)
        self._forbidden = named.forbidden
        self._merges = merges_of(teacher.tokenizer, {*named.must, *teacher.eos_ids})
        self._weight_V = weight_V

    @property
    def least(self) -> int:
        """How many must stay."""
        return len(self._merges.base())

    def kept(self, count: int) -> tuple[int, ...]:
        """Return the ids that stay, of `count` tokens."""
        forbidden = self._forbidden
        return tuple(choose_tokens(self._merges, self._weight_V, count, forbidden=forbidden))


def _has(axis: str, wanted: bool, there: bool, progress: Progress) -> bool:
    if wanted and not there:
        progress.note(f"shrink: this teacher cannot be cut by {axis}; the search goes without it")
    return wanted and there


def _check(name: str, asked: int, present: int) -> None:
    """Raise PotstillError where the recipe asks for more channels or heads than there are."""
    if asked > present:
        raise PotstillError(
            f"shrink.{name} is {asked}, but the teacher has only {present} in a block; "
            f"ask for fewer, or remove shrink.{name}"
        )
