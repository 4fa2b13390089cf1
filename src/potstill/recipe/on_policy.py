"""Which choices go together where a student learns from answers of its own."""

from __future__ import annotations

from potstill.recipe.asking import CollectConfig, EndpointConfig, TeacherConfig
from potstill.recipe.learning import TrainConfig


def check_on_policy(teacher: TeacherConfig, collect: CollectConfig, train: TrainConfig) -> None:
    """Refuse to learn from the student's own answers where nobody can tell what is right of them.

    Raises ValueError with the way out.
    """
    if train.on_policy is None:
        return
    endpoint = teacher.endpoint
    if endpoint is not None:
        _check_server(endpoint, collect, train)
    text = endpoint is None
    called = collect.calls is not None and collect.calls.use == "exchanges"
    for name, given, why in (
        ("collect.calls", called and text, _TEXT),
        ("collect.gold", collect.gold and text, _TEXT),
        (
            "collect.watermark",
            collect.watermark is not None,
            "the teacher would tell its distribution without the mark, which would be washed out",
        ),
    ):
        if given:
            raise ValueError(
                f"{name} and train.on_policy cannot be combined: {why}; take train.on_policy out"
            )
    if train.cross_entropy == 1:
        raise ValueError(
            "train.cross_entropy 1 and train.on_policy cannot be combined: cross-entropy on its "
            "own text teaches a student what it does already; lower train.cross_entropy, which "
            "counts for stored answers alone, or take train.on_policy out"
        )


def _check_server(endpoint: EndpointConfig, collect: CollectConfig, train: TrainConfig) -> None:
    """Refuse a server that does not read what the student writes, or not at the loss's scale."""
    if not endpoint.scores_text or collect.targets != "top-k":
        raise ValueError(
            "teacher.endpoint and train.on_policy cannot be combined unless the server reads what "
            "the student writes: set teacher.endpoint.scores_text where it does (vLLM's "
            "prompt_logprobs; llama.cpp's server has nothing of the kind), with collect.targets "
            "top-k, or take train.on_policy out"
        )
    keep_by = train.on_policy.keep_by if train.on_policy is not None else None
    if keep_by in ("own", "both"):
        raise ValueError(
            f"train.on_policy.keep_by {keep_by} and teacher.endpoint cannot be combined: a server "
            "tells likeliest tokens, not the whole distribution that students are compared by; "
            "leave keep_by out, or set it to teacher"
        )
    if train.temperature != 1:
        raise ValueError(
            f"train.temperature {train.temperature:g}, train.on_policy and teacher.endpoint cannot "
            "be combined: a server tells its likeliest tokens at temperature 1, from which nobody "
            "can scale the rest; set train.temperature to 1 (the student may write at another, "
            "train.on_policy.temperature)"
        )


_TEXT = "these answers are text alone, and nobody tells what the teacher makes of the student's"
