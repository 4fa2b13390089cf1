"""What is asked of a teacher, set by set: prompts that are answered alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.exchanges.exchange import Prompt
from potstill.models.sampling import Sampling
from potstill.work.plan import PromptPlan
from potstill.work.samplings import Samplings


@dataclass(frozen=True)
class PromptSet:
    """Prompts that a teacher is asked alike, `samples` times each.

    `targets` tells whether a server is asked for its likeliest tokens too, `training` whether the
    answers are what is learnt from.
    """

    label: str
    prompts: Sequence[Prompt]
    sampling: Sampling
    samples: int = 1
    targets: bool = False
    training: bool = False


@dataclass(frozen=True)
class AskedFor:
    """How much of a plan is asked: samples of each training prompt, and which held-out answers.

    `fidelity` held-out prompts (None: all) get the text that both models read; `greedy` has them
    answered greedily as well, `all_greedy` has every held-out prompt so. `targets`: training
    answers of a server come with its likeliest tokens.
    """

    samples: int = 1
    fidelity: int | None = None
    greedy: bool = False
    all_greedy: bool = False
    targets: bool = False


def prompt_sets(plan: PromptPlan, samplings: Samplings, wanted: AskedFor) -> list[PromptSet]:
    """Return everything that a teacher is asked, in the order of asking."""
    training = [p for p in plan.prompts if p.split != "held_out"]
    fidelity = plan.held_out[: wanted.fidelity]
    found = [
        PromptSet(
            "responses",
            training,
            samplings.training,
            wanted.samples,
            targets=wanted.targets,
            training=True,
        ),
        PromptSet("held-out responses", fidelity, samplings.held_out),
    ]
    if wanted.greedy or wanted.all_greedy:
        rows = plan.held_out if wanted.all_greedy else fidelity
        found.append(PromptSet("held-out greedy responses", rows, samplings.greedy))
    return found
