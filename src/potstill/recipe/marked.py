"""Which choices go together where training answers are marked.

A student inherits the mark only if everything that it learns carries it. What the teacher tells of
its own distribution (its states, what it is asked again) is unmarked, and would wash the mark out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.recipe.asking import CollectConfig, TeacherConfig
from potstill.recipe.learning import TrainConfig


def learnt_by_text(values: Any) -> Any:
    """Return a recipe's values with cross-entropy alone where a Gumbel mark leaves the choice."""
    if not isinstance(values, Mapping):
        return values
    collect, train = values.get("collect"), values.get("train", {})
    mark = _part(collect, "watermark")
    if _part(mark, "scheme") != "gumbel" or not isinstance(train, Mapping):
        return values
    return {**values, "train": {"cross_entropy": 1.0, **train}}


def check_marked(teacher: TeacherConfig, collect: CollectConfig, train: TrainConfig) -> None:
    """Refuse a mark where nobody decodes here, and targets that would wash it out.

    Raises ValueError with the way out.
    """
    if collect.watermark is None:
        return
    _check_who_decodes(teacher, collect)
    _check_targets(collect, train)


def _check_who_decodes(teacher: TeacherConfig, collect: CollectConfig) -> None:
    if collect.gold or collect.answers_given:
        name = "collect.gold" if collect.gold else "collect.calls"
        other = "" if collect.gold else ", or set collect.calls.use to prompts"
        raise ValueError(
            f"collect.watermark and {name} cannot be combined: a mark is made while a model "
            f"writes, and these answers are written already; take collect.watermark out{other}"
        )
    if teacher.endpoint is not None:
        raise ValueError(
            "collect.watermark and teacher.endpoint cannot be combined: whoever decodes marks, "
            "and that is the server; take collect.watermark out, and have the server mark (vLLM: "
            "--watermark-config, see docs/how-to/watermark.md)"
        )


def _check_targets(collect: CollectConfig, train: TrainConfig) -> None:
    kind, by_text = collect.targets, train.cross_entropy == 1
    assert collect.watermark is not None
    green = collect.watermark.scheme == "green"
    way = (
        "set collect.targets to sampled, which draws from the marked distribution"
        if green
        else "set collect.targets to none, and train.cross_entropy to 1"
    )
    if kind in ("hidden", "hidden-int8"):
        raise ValueError(
            f"collect.targets {kind} and collect.watermark cannot be combined: hidden states are "
            f"the teacher's distribution without the mark, which would be washed out; {way}"
        )
    if kind == "top-k":
        raise ValueError(
            "collect.targets top-k and collect.watermark cannot be combined: of the mass of all "
            f"other tokens it is not known how much is marked; {way}"
        )
    if kind == "sampled" and not green:
        raise ValueError(
            "collect.targets sampled and collect.watermark.scheme gumbel cannot be combined: "
            "given the key there is one token to write, and no marked distribution to draw from; "
            f"{way}"
        )
    if kind == "none" and not by_text:
        raise ValueError(
            f"train.cross_entropy {train.cross_entropy:g} and collect.watermark cannot be combined "
            "with collect.targets none: the teacher would be asked again for its distribution, "
            "which is without the mark; set train.cross_entropy to 1"
            + (", or collect.targets to sampled" if green else "")
        )
    if kind == "sampled" and not by_text and train.objective != "forward_kl":
        raise ValueError(
            f"train.objective {train.objective} and collect.watermark cannot be combined: draws "
            "from the marked distribution give forward_kl without a bias and nothing else; set "
            "train.objective to forward_kl, or train.cross_entropy to 1"
        )


def _part(section: Any, name: str) -> Any:
    """Return what a section holds under a name, be it values or a section; None for nothing."""
    return section.get(name) if isinstance(section, Mapping) else getattr(section, name, None)
