"""The kinds of tests that this version has, by name."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.errors import PotstillError
from potstill.trace.agreement import AgreementItem, AgreementPlanned, agreement_finding
from potstill.trace.finding import Finding, TestName, Tier
from potstill.trace.marks_in_choices import (
    ChoiceItem,
    MarkedText,
    MarksInChoicesPlanned,
    marks_in_choices_finding,
)
from potstill.trace.marks_in_text import AnswerItem, MarksInTextPlanned, marks_in_text_finding
from potstill.trace.order import OrderItem, OrderPlanned, order_finding
from potstill.trace.registry import Disclosed, PlannedTest, TestKind
from potstill.trace.twins import TwinsItem, TwinsPlanned, twins_finding, with_controls
from potstill.trace.weights import WeightsItem, WeightsPlanned, weights_finding


def _in_text(
    planned: MarksInTextPlanned, items: Sequence[AnswerItem], digest: str, disclosed: Disclosed
) -> Finding:
    scheme = None if disclosed.key is None else planned.mark.under(disclosed.key)
    return marks_in_text_finding(planned, items, digest, scheme)


def _in_choices(
    planned: MarksInChoicesPlanned, items: Sequence[ChoiceItem], digest: str, disclosed: Disclosed
) -> Finding:
    given = None if disclosed.texts is None else disclosed.texts.get(planned.configuration)
    texts = None if given is None else [one for one in given if isinstance(one, MarkedText)]
    # Without the texts no window is known, and a key makes nothing again.
    scheme = None
    if disclosed.key is not None and texts is not None:
        scheme = planned.mark.under(disclosed.key)
    return marks_in_choices_finding(planned, items, digest, scheme, texts)


def _among_twins(
    planned: TwinsPlanned, items: Sequence[TwinsItem], digest: str, disclosed: Disclosed
) -> Finding:
    return twins_finding(planned, items, digest)


def _by_order(
    planned: OrderPlanned, items: Sequence[OrderItem], digest: str, disclosed: Disclosed
) -> Finding:
    return order_finding(planned, items, digest, disclosed.secret)


def _by_weights(
    planned: WeightsPlanned, items: Sequence[WeightsItem], digest: str, disclosed: Disclosed
) -> Finding:
    return weights_finding(planned, items, digest)


def _by_agreement(
    planned: AgreementPlanned, items: Sequence[AgreementItem], digest: str, disclosed: Disclosed
) -> Finding:
    return agreement_finding(planned, items, digest)


def _key_of_mark(planned: MarksInTextPlanned | MarksInChoicesPlanned) -> str:
    return planned.mark.key_id


KINDS: dict[TestName, TestKind] = {
    kind.test: kind
    for kind in (
        TestKind(
            "watermark-text",
            MarksInTextPlanned,
            AnswerItem,
            "proof",
            find=_in_text,
            key_id=_key_of_mark,
        ),
        TestKind(
            "watermark-reading",
            MarksInChoicesPlanned,
            ChoiceItem,
            "proof",
            find=_in_choices,
            key_id=_key_of_mark,
        ),
        TestKind(
            "twins",
            TwinsPlanned,
            TwinsItem,
            "proof",
            find=_among_twins,
            with_controls=with_controls,
        ),
        TestKind("order", OrderPlanned, OrderItem, "descent", find=_by_order),
        TestKind("weights", WeightsPlanned, WeightsItem, "descent", find=_by_weights),
        TestKind("agreement", AgreementPlanned, AgreementItem, "support", find=_by_agreement),
    )
}


def tier_of(planned: PlannedTest) -> Tier:
    """Return the strongest tier that a planned test may claim: what its share of alpha is of."""
    own: Tier | None = getattr(planned, "tier", None)
    return kind_of_test(planned.test).tier if own is None else own


def kind_of_test(test: str) -> TestKind:
    """Return the kind of a test by its name. Raises PotstillError where this version has none."""
    for name, kind in KINDS.items():
        if name == test:
            return kind
    known = ", ".join(KINDS) or "none"
    raise PotstillError(
        f"the test {test[:60]} is not known to this version of potstill, which has {known}; use "
        "the version that made the plan"
    )
