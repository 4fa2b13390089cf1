"""What every suspect of the zoo is asked: one plan, fixed before any of them was.

The owner's side is made here once: the marked answers that are read, twins of the served ones, the
rows that the teacher was trained on, and the controls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from curves import LEAST_ANSWERS
from world import BATCH_TOKENS, EPOCH, SCHEMES, SEED, World, example_of

from potstill.canonical import digest_of
from potstill.exchanges.exchange import Exchange
from potstill.models.chat import prompt_ids
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse
from potstill.recipe.watermark import WatermarkConfig
from potstill.trace.agreement import AgreementItem, AgreementPlanned, agreement_finding
from potstill.trace.finding import Finding
from potstill.trace.gather.agreement import gather_agreement, kept_answers, plan_agreement
from potstill.trace.gather.answers import gather_answers
from potstill.trace.gather.choices import gather_choices
from potstill.trace.gather.local import LocalModel
from potstill.trace.gather.order import gather_order, plan_order
from potstill.trace.gather.scores import ScoringModel, gather_scores, reads_texts
from potstill.trace.gather.twins import draw_twins
from potstill.trace.gather.weights import gather_weights, plan_weights
from potstill.trace.marks import PlannedMark, planned_mark
from potstill.trace.marks_in_choices import (
    ChoiceItem,
    MarkedText,
    MarksInChoicesPlanned,
    marks_in_choices_finding,
    planned_readings,
)
from potstill.trace.marks_in_text import (
    AnswerItem,
    MarksInTextPlanned,
    answer_scores,
    marks_in_text_finding,
)
from potstill.trace.order import OrderItem, OrderPlanned, order_finding
from potstill.trace.served import TwinSet, row_of_exchange, salted_prompt, served_exchanges
from potstill.trace.twins import TwinsItem, TwinsPlanned, twins_finding
from potstill.trace.weights import WeightsItem, weights_finding
from potstill.watermark.keys import read_key
from potstill.watermark.marking import OwnScheme
from potstill.watermark.schemes import GreenList, Gumbel

# Positions that are read at the most, prompts and answers that are asked, served answers ranked.
POSITIONS = 10_000
PROMPTS, SAMPLES, LARGE_SAMPLES, TEMPERATURE = 200, 2, 6, 0.7
RANKED, TWINS = 300, 2
ROWS = 300
GREEDY, LONGEST = 100, 32
CONTROLS = (91, 92, 93)
SALT = "the zoo's salt, which hides nothing"
DIGEST = digest_of(
    ["zoo", SEED, SCHEMES, POSITIONS, PROMPTS, SAMPLES, RANKED, TWINS, ROWS, GREEDY], 32
)

Item = TypeVar("Item")
Gathered = tuple[Finding, list[Any]]


@dataclass(frozen=True)
class Sizes:
    """How much of each test is asked under the plan of a digest; the defaults are the zoo's."""

    digest: str = DIGEST
    longest: int = 128
    ranked: int = RANKED
    # In how many answers a pair stands that is scored in text.
    least_answers: int = LEAST_ANSWERS


@dataclass(frozen=True)
class Asked:
    """One test of one suspect: what it came to, and its raw log."""

    finding: Finding
    items: Sequence[Any]


@dataclass(frozen=True)
class Owner:
    """The teacher's side of every test, made when it is first needed."""

    world: World
    sizes: Sizes = Sizes()

    @cached_property
    def teacher(self) -> LoadedModel:
        """The teacher, loaded."""
        return _loaded(self.world.teacher)

    @cached_property
    def reading(self) -> ScoringModel:
        """The teacher as the reference of twins; what it read once it does not read again."""
        return ScoringModel(self.teacher)

    @cached_property
    def again(self) -> LoadedModel:
        """The teacher's training once more in another order: what its order is looked at against.

        Against the base alone, how much each step teaches (its learning rate) outweighs the order.
        """
        world = self.world
        found = world.trained("teacher-again", world.base(0).directory, world.corpus(1))
        return _loaded(found[-1])

    @cached_property
    def controls(self) -> list[LoadedModel]:
        """Models known to be clean, that agreement is compared with."""
        return [_loaded(self.world.base(seed).directory) for seed in CONTROLS]

    @cached_property
    def greedy(self) -> tuple[AgreementPlanned, list[tuple[int, ...]]]:
        """What is planned about greedy answers, with the teacher's own."""
        return agreement_plan(self)

    def scheme(self, name: str) -> OwnScheme:
        """Return the owner's mark of a scheme, under the epoch's key."""
        config = WatermarkConfig.model_validate({"key": "-", **SCHEMES[name]})
        key = read_key(self.world.key()).epoch(EPOCH)
        if name == "gumbel":
            return Gumbel(key, config.window)
        assert config.gamma is not None
        assert config.delta is not None
        return GreenList(key, config.window, config.gamma, config.delta)

    def mark(self, name: str) -> PlannedMark:
        """Return a scheme as a plan knows it."""
        vocabulary = len(self.teacher.tokenizer)
        tokenizer = self.teacher.tokenizer_id
        return planned_mark(self.scheme(name), tokenizer=tokenizer, vocabulary=vocabulary)

    def served(self, name: str | None) -> list[Exchange]:
        """Return what was served, marked by a scheme or not."""
        return self.world.answers("teacher", self.world.teacher, name)

    def marked_texts(self, name: str) -> list[MarkedText]:
        """Return the marked answers that suspects read, in plan order."""
        rows = [row.ids for row in self.served(name)]
        return [MarkedText(salt=SALT, prompt_ids=tuple(p), ids=tuple(r)) for p, r in rows]

    def trained_rows(self) -> list[PromptAndResponse]:
        """Return the rows that the teacher was trained on, in its own order."""
        corpus = self.world.corpus(1)
        found = [example_of(self.teacher, i, said) for i, said in enumerate(corpus)]
        return [(e.prompt_ids, e.response_ids) for e in found]

    @cached_property
    def prompts(self) -> list[str]:
        """Prompts that nobody has asked before."""
        pairs = self.world.speech.exchanges(2 * PROMPTS, 999)
        known = set(self.world.prompts)
        return list(dict.fromkeys(p for p, _ in pairs if p not in known))[:PROMPTS]


def _loaded(path: Path) -> LoadedModel:
    return load(str(path), device="cpu", precision="fp32")


def text_plan(owner: Owner, scheme: str, samples: int) -> MarksInTextPlanned:
    """Return what is asked for a scheme's mark in text."""
    return MarksInTextPlanned(
        configuration=scheme,
        mark=owner.mark(scheme),
        prompts=tuple(owner.prompts),
        samples=samples,
        temperature=TEMPERATURE,
        max_tokens=owner.sizes.longest,
        least_answers=owner.sizes.least_answers,
    )


def in_text(owner: Owner, suspect: LoadedModel, scheme: str, samples: int) -> Asked:
    """Ask for text at a temperature, and look for the mark in it."""
    planned = text_plan(owner, scheme, samples)
    encode = _encode(owner.teacher)
    items: list[AnswerItem] = []
    own = owner.scheme(scheme)
    gather_answers(planned, LocalModel(suspect), own, encode, owner.sizes.digest, [], items.append)
    return Asked(marks_in_text_finding(planned, items, owner.sizes.digest, own), items)


def text_again(owner: Owner, asked: Asked, scheme: str, samples: int) -> Asked:
    """Look for another scheme's mark in the answers that were asked for already."""
    own = owner.scheme(scheme)
    planned = text_plan(owner, scheme, samples)
    items = [
        item.model_copy(update={"scores": answer_scores(own, item.ids)}) if item.ids else item
        for item in asked.items
    ]
    return Asked(marks_in_text_finding(planned, items, owner.sizes.digest, own), items)


def in_choices(owner: Owner, suspect: LoadedModel, scheme: str) -> Asked | None:
    """Have the suspect read marked answers; None where it has another tokenizer."""
    if suspect.tokenizer_id != owner.teacher.tokenizer_id:
        return None
    texts, mark, own = owner.marked_texts(scheme), owner.mark(scheme), owner.scheme(scheme)
    readings = planned_readings(texts, mark, POSITIONS)
    count = sum(len(reading.positions) for reading in readings)
    planned = MarksInChoicesPlanned(configuration=scheme, mark=mark, readings=readings, n=count)
    items: list[ChoiceItem] = []
    gather_choices(planned, LocalModel(suspect), own, texts, [], items.append)
    found = marks_in_choices_finding(planned, items, owner.sizes.digest, own, texts)
    return Asked(found, items)


def _twin_plan(owner: Owner, scheme: str) -> tuple[TwinsPlanned, list[TwinSet]]:
    marked = None if scheme == "plain" else owner.scheme(scheme)
    schemes = {} if marked is None else {marked.mark_id: marked.name}
    rows = [row_of_exchange(e, schemes) for e in owner.served(None if marked is None else scheme)]
    rows = rows[: owner.sizes.ranked]
    planned = TwinsPlanned(
        configuration=scheme,
        exchanges=tuple(served_exchanges(rows, TWINS, SALT)),
        snapshot=owner.teacher.identity,
        temperature=1.0,
        marked_with=None if marked is None else marked.name,
        reference=owner.teacher.identity,
    )
    path = owner.world.folder / f"twins-{scheme}.jsonl"
    local, digest = LocalModel(owner.teacher), owner.sizes.digest
    sets = draw_twins(planned, local, rows, SALT, digest, path, scheme=marked)
    return planned, sets


def twins(owner: Owner, suspect: LoadedModel, scheme: str) -> Asked:
    """Rank served answers among fresh ones."""
    planned, sets = _twin_plan(owner, scheme)
    same = suspect.tokenizer_id == owner.teacher.tokenizer_id
    asked = ScoringModel(suspect, None if same else reads_texts(owner.teacher, suspect))
    items: list[TwinsItem] = []
    gather_scores(planned, asked, owner.reading, sets, SALT, [], items.append)
    return Asked(twins_finding(planned, items, owner.sizes.digest), items)


def order_plan(owner: Owner) -> OrderPlanned:
    """Return what is planned about the order in which the teacher was trained."""
    return plan_order(
        owner.trained_rows(),
        owner.world.secret("teacher"),
        batch_tokens=BATCH_TOKENS,
        epochs=1.0,
        reference=owner.again.identity,
        most=ROWS,
    )


def order(owner: Owner, suspect: LoadedModel) -> Asked | None:
    """Look whether likelihoods follow the order in which the teacher was trained."""
    if suspect.tokenizer_id != owner.teacher.tokenizer_id:
        return None
    planned, secret = order_plan(owner), owner.world.secret("teacher")
    items: list[OrderItem] = []
    rows = owner.trained_rows()
    gather_order(planned, suspect, owner.again, rows, secret, [], items.append)
    return Asked(order_finding(planned, items, DIGEST, secret), items)


def weights(owner: Owner, suspect: LoadedModel) -> Asked:
    """Match the hidden units of the suspect and the teacher."""
    planned = plan_weights(owner.teacher, suspect)
    items: list[WeightsItem] = []
    gather_weights(planned, owner.teacher, suspect, [], items.append)
    return Asked(weights_finding(planned, items, owner.sizes.digest), items)


def agreement_plan(owner: Owner) -> tuple[AgreementPlanned, list[tuple[int, ...]]]:
    """Return what is planned about greedy answers, and the teacher's own, asked once and kept."""
    asked, path = greedy_prompts(owner), owner.world.folder / "agreement-answers.jsonl"
    planned = plan_agreement(
        owner.teacher,
        asked,
        names=[salted_prompt(SALT, ids) for ids in asked],
        longest=LONGEST,
        controls=[model.identity for model in owner.controls],
        path=path,
    )
    answers = kept_answers(planned, path)
    assert answers is not None
    return planned, answers


def greedy_prompts(owner: Owner) -> list[tuple[int, ...]]:
    """Return the ids of the prompts whose greedy answers are compared."""
    asked = [({"role": "user", "content": prompt},) for prompt in owner.prompts[:GREEDY]]
    return [tuple(prompt_ids(owner.teacher, messages)) for messages in asked]


def agreement(owner: Owner, suspect: LoadedModel) -> Asked | None:
    """Compare greedy answers with the teacher's, beside clean controls."""
    if suspect.tokenizer_id != owner.teacher.tokenizer_id:
        return None
    planned, answers = owner.greedy
    items: list[AgreementItem] = []
    gather_agreement(
        planned,
        owner.teacher,
        suspect,
        owner.controls,
        greedy_prompts(owner),
        [],
        items.append,
        answers=answers,
    )
    return Asked(agreement_finding(planned, items, DIGEST), items)


def _encode(model: LoadedModel) -> Callable[[str], Sequence[int]]:
    def encode(text: str) -> Sequence[int]:
        return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])

    return encode


def every_test(
    owner: Owner, suspect: LoadedModel, *, large: bool
) -> Mapping[str, Callable[[], Asked | None]]:
    """Return each test of one suspect by name; `large` asks for as much text as a headline has."""
    samples = LARGE_SAMPLES if large else SAMPLES
    found: dict[str, Callable[[], Asked | None]] = {}
    for scheme in SCHEMES:
        found[f"watermark-text {scheme}"] = lambda s=scheme: in_text(owner, suspect, s, samples)
        found[f"watermark-reading {scheme}"] = lambda s=scheme: in_choices(owner, suspect, s)
    for served in ("plain", "green"):
        found[f"twins {served}"] = lambda s=served: twins(owner, suspect, s)
    found["order"] = lambda: order(owner, suspect)
    found["weights"] = lambda: weights(owner, suspect)
    found["agreement"] = lambda: agreement(owner, suspect)
    return found
