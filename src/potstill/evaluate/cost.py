"""What a run cost: arithmetic counted from shapes, tokens, seconds, energy and money.

Formulas and their sources are in docs/methods/cost.md. Everything here is a count of what the
work needs, not of what a kernel wastes: padding and masked attention scores are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from torch import nn

from potstill.recipe import CostConfig
from potstill.work.evaluation import Cost, FromScratch, ParentModel, Stage

STAGES = ("collection", "shrink", "training", "evaluation")
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022, arXiv 2203.15556, table 3
SCRATCH_FORMULA = "6 N D with D = 20 N (Hoffmann et al. 2022)"
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class ModelShape:
    """What the arithmetic of one model depends on, in floating-point operations (FLOPs).

    A multiplication and an addition are two operations. `body` and `head` are FLOPs a token in
    the matrix products below the output head and in the head. `attention` holds, for each
    block, the FLOPs of one (query, key) pair over all heads and the block's window (None where
    it sees everything).
    """

    parameters: int
    body: float
    head: float
    attention: tuple[tuple[float, int | None], ...]


def model_shape(network: Any) -> ModelShape:
    """Return the shape of a transformers causal language model.

    Counts every linear layer once a token, and of a mixture's experts (stored as one tensor of
    three dimensions) the share that a token visits.
    """
    head = network.get_output_embeddings()
    body = sum(
        _weights(module) for module in network.modules() if module is not head and _linear(module)
    )
    return ModelShape(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        body=2.0 * (body + _expert_weights(network)),
        head=2.0 * (head.weight.numel() if head is not None else 0),
        attention=_attention(network.config),
    )


def matmul_flops_per_token(network: Any) -> float:
    """Return the FLOPs of one token's matrix products, head included, attention scores not."""
    shape = model_shape(network)
    return shape.body + shape.head


def forward_flops(shape: ModelShape, lengths: Iterable[int], head_positions: int) -> float:
    """Return the FLOPs of one causal forward pass over sequences of these lengths.

    `head_positions` is how many positions go through the output head: only responses do in
    training and scoring.
    """
    tokens, scores = 0, 0.0
    for length in lengths:
        tokens += length
        scores += sum(pair * _causal_pairs(length, window) for pair, window in shape.attention)
    return tokens * shape.body + head_positions * shape.head + scores


def training_flops(
    shape: ModelShape,
    lengths: Sequence[int],
    head_positions: int,
    frozen_blocks: int = 0,
    *,
    checkpointing: bool = False,
    adapters: int | None = None,
) -> float:
    """Return the FLOPs of forward and backward: three times the forward pass.

    The backward pass takes one product for the input's gradient and one for the weight's
    (Kaplan et al. 2020, arXiv 2001.08361, section 2.1: 2N forward, 4N backward). The first
    `frozen_blocks` blocks have no backward pass. With `checkpointing` the other blocks go forward
    twice. `adapters` is the number of the adapters' weights where these are all that learns: no
    other weight, the head's neither, takes a gradient then (2N backward).
    """
    frozen = replace(
        shape,
        body=shape.body * frozen_blocks / max(1, len(shape.attention)),
        attention=shape.attention[:frozen_blocks],
    )
    learning = replace(
        shape,
        body=shape.body - frozen.body + 2.0 * (adapters or 0),
        attention=shape.attention[frozen_blocks:],
    )
    flops = forward_flops(frozen, lengths, 0)
    flops += 3.0 * forward_flops(learning, lengths, head_positions)
    if checkpointing:
        flops += forward_flops(learning, lengths, 0)
    if adapters is not None:
        held = shape.body - frozen.body
        flops -= forward_flops(replace(shape, body=held, attention=()), lengths, head_positions)
    return flops


def generation_flops(shape: ModelShape, exchanges: Iterable[tuple[int, int]]) -> float:
    """Return the FLOPs of answering: pairs of (prompt tokens, response tokens).

    With a key-value cache every token but the last of the response is fed once, and the head
    is asked once for each response token.
    """
    answered = [(prompt, response) for prompt, response in exchanges if response > 0]
    lengths = [prompt + response - 1 for prompt, response in answered]
    return forward_flops(shape, lengths, sum(response for _, response in answered))


@dataclass(frozen=True)
class StageCost:
    """One stage's cost; money in `currency`.

    `joules` is None where the machine does not say, `tokens` and `money` where a server does not.
    """

    flops: float
    tokens: int | None
    seconds: float
    joules: float | None
    money: float | None


def stage_cost(
    flops: float,
    tokens: int | None,
    seconds: float,
    prices: CostConfig,
    joules: float | None = None,
) -> StageCost:
    """Return a stage's cost; money is the machine's time at `prices.machine_hour`."""
    return StageCost(flops, tokens, seconds, joules, seconds / 3600 * prices.machine_hour)


def total_cost(stages: Iterable[StageCost]) -> StageCost:
    """Return the sum; its energy, tokens and money are known only where every stage's are."""
    costs = list(stages)
    return StageCost(
        flops=sum(cost.flops for cost in costs),
        tokens=sum_of_known([cost.tokens for cost in costs]),
        seconds=sum(cost.seconds for cost in costs),
        joules=sum_of_known([cost.joules for cost in costs]) if costs else None,
        money=sum_of_known([cost.money for cost in costs]),
    )


def sum_of_known(values: Sequence[N | None]) -> N | None:
    """Return the sum; None where any value is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def scratch_flops(parameters: int) -> float:
    """Return the operations of compute-optimal training of a model of this size, estimated."""
    return 6.0 * parameters * TOKENS_PER_PARAMETER * parameters


def from_scratch(parameters: int, prices: CostConfig) -> FromScratch:
    """Return what pretraining a model of this size would take, estimated.

    Compute-optimal training reads D = 20 N tokens and takes C = 6 N D operations (Hoffmann et
    al. 2022, arXiv 2203.15556, section 3 and table 3); money is C on an accelerator of
    `prices.accelerator_flops` at `prices.accelerator_hour`.
    """
    tokens = TOKENS_PER_PARAMETER * parameters
    flops = scratch_flops(parameters)
    hours = flops / prices.accelerator_flops / 3600
    return FromScratch(
        tokens=tokens,
        flops=flops,
        money=hours * prices.accelerator_hour,
        formula=SCRATCH_FORMULA,
    )


@dataclass(frozen=True)
class Parent:
    """A trained model that a student began as: its name, and how many parameters it has."""

    model: str
    parameters: int

    @property
    def flops(self) -> float:
        """What training it took, by the formula that training from scratch is estimated by."""
        return scratch_flops(self.parameters)


def cost_section(
    stages: Mapping[str, StageCost],
    *,
    student_parameters: int,
    prices: CostConfig,
    parent: Parent | None = None,
) -> Cost:
    """Return `cost` of evaluation.json: each stage, their total and the estimate from scratch.

    `ratio_flops` is the run's total over the estimate: 0.001 means a thousandth of the
    arithmetic; `ratio_flops_with_parent` counts the training of the `parent` in. Unknown stage
    names are a bug and raise ValueError.
    """
    unknown = sorted(set(stages) - set(STAGES))
    if unknown:
        raise ValueError(f"unknown stages {unknown}; there are {STAGES}")
    total = total_cost(stages.values())
    scratch = from_scratch(student_parameters, prices)
    begun_as = None if parent is None else ParentModel(**asdict(parent), flops=parent.flops)
    return Cost(
        **{name: Stage(**asdict(stages[name])) for name in STAGES if name in stages},
        total=Stage(**asdict(total)),
        from_scratch=scratch,
        ratio_flops=total.flops / scratch.flops,
        parent=begun_as,
        ratio_flops_with_parent=(
            None if parent is None else (total.flops + parent.flops) / scratch.flops
        ),
        currency=prices.currency,
    )


def _linear(module: nn.Module) -> bool:
    # transformers' Conv1D (GPT-2) is a linear layer with a transposed weight.
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _weights(module: nn.Module) -> int:
    weight = module.weight
    assert weight is not None
    return int(weight.numel())  # type: ignore[operator]


def _expert_weights(network: Any) -> float:
    config = _text_config(network.config)
    visited = getattr(config, "num_experts_per_tok", None)
    if not visited:
        return 0.0
    experts = [
        weight
        for module in network.modules()
        for weight in module.parameters(recurse=False)
        if weight.ndim == 3 and "Expert" in type(module).__name__
    ]
    return float(sum(weight.numel() * min(1, visited / weight.shape[0]) for weight in experts))


def _text_config(config: Any) -> Any:
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _attention(config: Any) -> tuple[tuple[float, int | None], ...]:
    config = _text_config(config)
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    # Queries times keys, then weights times values: 2 FLOPs a channel each.
    pair = 4.0 * heads * head_dim
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if kinds is None:
        kinds = ["full_attention"] * config.num_hidden_layers
    return tuple((pair, window if kind == "sliding_attention" else None) for kind in kinds)


def _causal_pairs(length: int, window: int | None) -> int:
    if window is None or length <= window:
        return length * (length + 1) // 2
    return window * (window + 1) // 2 + (length - window) * window
