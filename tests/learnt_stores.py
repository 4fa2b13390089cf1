"""Answers to every split, stored as collecting stores them, and a corpus on them: no run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opened_models import made_plan, open_models, permitted
from pipeline_runs import recipe_values
from potstill.collect.stage import decoded_answers
from potstill.exchanges.exchange import Exchange, Prompt, Split
from potstill.exchanges.store import ExchangeStore
from potstill.progress import Progress, Silent
from potstill.recipe import CallsConfig, Recipe
from potstill.runs.collecting import asking
from potstill.terms.gate import Stated, TermsDecision, decide
from potstill.terms.licences import licence_of
from potstill.work.access import Access, Author, PastCalls, Weights
from potstill.work.corpus import Corpus, tokenised
from potstill.work.opened import Compute, Opened
from potstill.work.target_specs import training_spec

PLAN = made_plan(train=8, validation=3, held_out=3)
CALLS = PastCalls("past", CallsConfig(path="log.jsonl", source="apache-2.0"))
COMPUTE = Compute("cpu", "fp32", "2026-01-31")


@dataclass(frozen=True)
class Answered:
    """A store of a teacher's answers, closed, with what was asked and by whom."""

    root: Path
    recipe: Recipe
    identity: str

    def corpus(self, root: Path | None = None, **options: Any) -> Corpus:
        """Open a corpus on the store, or on a copy of it at `root`, that tests may write to."""
        if root is not None:
            shutil.copytree(self.root, root)
        store = ExchangeStore(root or self.root)
        spec = training_spec(self.recipe.collect, self.recipe.train.temperature)
        access = Access.of(self.recipe)
        return corpus_on(store, access, self.identity, **{"spec": spec, **options})


def answered(directory: Path, root: Path, **sections: Any) -> Answered:
    """Have a model answer `PLAN`, by a recipe with these sections."""
    sections = {"collect": {"max_tokens": 12, "targets": "hidden"}, **sections}
    recipe = Recipe.model_validate(recipe_values(directory, "unused", **sections))
    store = ExchangeStore(root)
    opened = open_models(recipe, store)
    decision = decide("nano", licence_of(directory), Stated())
    decoded_answers(opened.teacher, PLAN, asking(recipe), store, decision, Silent())
    store.compact()
    store.close()
    return Answered(root, recipe, opened.teacher.identity)


def corpus_on(
    store: ExchangeStore,
    access: Access,
    identity: str,
    *,
    progress: Progress | None = None,
    met: Callable[[str], None] = lambda found: None,
    permit: Callable[[], TermsDecision] = permitted,
    **options: Any,
) -> Corpus:
    """Return a corpus on a store, whose models are loaded when they are asked for."""
    opened = Opened(
        access,
        COMPUTE,
        store,
        identity=identity,
        permit=permit,
        met=met,
        progress=progress or Silent(),
    )
    given = {
        "spec": None,
        "reasoning": "keep",
        "measured_on": lambda row: True,
        "cut": tokenised,
        **options,
    }
    return Corpus(store, opened, identity, **given)


def text_access(directory: Path, author: Author = CALLS) -> Access:
    """Return access to answers whose author is not at hand, for a student made from a model."""
    weights = Weights(str(directory))
    return Access(author, None, weights, weights)


def written(prompt: Prompt, response: str, **more: Any) -> Exchange:
    """Return an answer of which there is text alone."""
    values: dict[str, Any] = {
        "exchange_id": f"answer to {prompt.prompt_id}",
        "prompt_id": prompt.prompt_id,
        "split": prompt.split,
        "messages": prompt.messages,
        "response": response,
        "prompt_token_ids": None,
        "response_token_ids": None,
        "tokenizer": None,
        "finish_reason": "stop",
        "teacher": "past",
        "sampling": {},
        "sample_index": 0,
        "terms_decision": "allow",
        "source": "test",
        "created_at": "2026-01-01T00:00:00Z",
    }
    return Exchange(**{**values, **more})


def past_rows(split: Split = "train") -> list[Exchange]:
    """Return answers to the prompts of a split that came as text."""
    prompts = getattr(PLAN, split)
    return [written(p, f"I count: {i}, {i + 1}.") for i, p in enumerate(prompts)]
