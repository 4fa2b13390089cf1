"""Which choices go together where what a server tells of its distribution is learnt from."""

from __future__ import annotations

from potstill.recipe.asking import CollectConfig, EndpointConfig
from potstill.request_fields import what_changes_draws


def check_served_targets(endpoint: EndpointConfig, collect: CollectConfig) -> None:
    """Refuse targets that a server cannot give, or that would not be the teacher's distribution.

    Raises ValueError with the way out.
    """
    asked, kind, kept = endpoint.top_logprobs, collect.targets, collect.top_k_targets
    if kind not in ("top-k", "none"):
        raise ValueError(
            f"collect.targets {kind} and teacher.endpoint cannot be combined: a server tells its "
            "likeliest tokens at most; set collect.targets to none, or to top-k with "
            f"teacher.endpoint.top_logprobs {kept}"
        )
    if kind == "none":
        if endpoint.scores_text:
            raise ValueError(
                "teacher.endpoint.scores_text and collect.targets none cannot be combined: what "
                "the server tells of given text would not be kept; set collect.targets to top-k "
                "and teacher.endpoint.top_logprobs to as many as collect.top_k_targets, or take "
                "scores_text out"
            )
        if asked:
            raise ValueError(
                f"teacher.endpoint.top_logprobs {asked} and collect.targets none cannot be "
                "combined: what the server is asked for would not be kept; set collect.targets to "
                "top-k, or teacher.endpoint.top_logprobs to 0"
            )
        return
    if collect.answers_given and not endpoint.scores_text:
        name = "collect.gold" if collect.gold else "collect.calls"
        raise ValueError(
            f"collect.targets top-k and {name} cannot be combined: these answers come without a "
            "distribution; set collect.targets to none, or teacher.endpoint.scores_text where the "
            "server can read given text (vLLM's prompt_logprobs)"
        )
    if asked != kept:
        raise ValueError(
            f"collect.top_k_targets {kept} and teacher.endpoint.top_logprobs {asked} cannot be "
            "combined: as many tokens are kept as the server is asked for; set both to the same "
            "number, or collect.targets to none and top_logprobs to 0"
        )
    if endpoint.scores_text:
        _check_reading(endpoint)
    if not collect.answers_given:
        _check_sampling(collect)
    given = collect.answers_given
    changing = what_changes_draws(endpoint.extra, collect.max_tokens, given=given)
    if changing is not None:
        raise ValueError(
            f"{changing} in teacher.endpoint.extra and collect.targets top-k cannot be combined: "
            "the server's log-probabilities might not be the teacher's own; take it out, or "
            "set collect.targets to none"
        )


def _check_reading(endpoint: EndpointConfig) -> None:
    """Refuse another template than the tokenizer's: text is given by ids, which that makes."""
    for name in ("chat_template", "chat_template_kwargs"):
        if endpoint.extra.get(name) is not None:
            raise ValueError(
                f"{name} in teacher.endpoint.extra and teacher.endpoint.scores_text cannot be "
                "combined: text to read is sent as the ids that student.model's own template "
                "makes; take it out, or scores_text"
            )


def _check_sampling(collect: CollectConfig) -> None:
    """Refuse draws from anything but the teacher's own distribution.

    Some servers report log-probabilities before temperature and truncation, others after, and
    none says which: without either both are the same.
    """
    for name, neutral in (("temperature", 1), ("top_p", 1), ("top_k", 0)):
        given = getattr(collect, name)
        if given != neutral:
            raise ValueError(
                f"collect.{name} {given:g} and collect.targets top-k cannot be combined with "
                "teacher.endpoint: servers differ in whether their log-probabilities are those "
                f"before or after it; set collect.{name} to {neutral}, or collect.targets to none"
            )
