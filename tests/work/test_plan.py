"""A plan is kept and comes back as it was, whatever its prompts are."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from opened_models import made_plan, made_prompt
from potstill.exchanges.exchange import Prompt
from potstill.exchanges.overlap import OverlapReport
from potstill.work.plan import KnownRow, PromptPlan
from potstill.work.records import Prompts

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


def split_of(name: str) -> st.SearchStrategy[tuple[Prompt, ...]]:
    some = st.builds(
        made_prompt,
        TEXT,
        st.just(name),
        st.none() | TEXT,
        slice=st.none() | TEXT,
        tools=st.none() | st.just("[]"),
    )
    return st.lists(some, max_size=4).map(tuple)


COUNTS = st.integers(0, 9)
OVERLAPS = st.builds(
    OverlapReport,
    COUNTS,
    COUNTS,
    exact=COUNTS,
    near=COUNTS,
    train_indices=st.lists(COUNTS, max_size=3).map(tuple),
)
PLANS = st.builds(
    PromptPlan,
    split_of("train"),
    split_of("validation"),
    split_of("held_out"),
    OVERLAPS,
    st.lists(TEXT, max_size=2).map(tuple),
)


@given(PLANS, st.none() | st.lists(st.none() | TEXT, max_size=2))
def test_what_is_kept_makes_the_plan_again(
    plan: PromptPlan, columns: list[str | None] | None
) -> None:
    kept = plan.kept(columns)
    assert kept.columns == (None if columns is None else tuple(columns))
    # Without rows there is nothing to say of columns, as before there were any.
    assert ("columns" in kept.as_json()) == (columns is not None)
    read = Prompts.from_json(kept.model_dump_json(exclude_unset=True).encode())
    assert PromptPlan.of(read) == plan
    assert plan.prompts == (*plan.train, *plan.validation, *plan.held_out)


def test_what_rows_say_replaces_what_was_known() -> None:
    plan = made_plan(2, 1, 1)
    first, held = plan.train[0], plan.held_out[0]
    known = {first.prompt_id: KnownRow("seven", "odd"), held.prompt_id: KnownRow(None, "even")}
    told = plan.knowing(known, ["a note"])
    assert told.train == (replace(first, gold="seven", slice="odd"), plan.train[1])
    assert told.held_out == (replace(held, slice="even"),)
    assert told.validation == plan.validation and told.notes == ("a note",)
    assert told.knowing({}, ["another"]).notes == ("a note", "another")
    # A right answer that a row no longer has is gone.
    assert told.knowing({first.prompt_id: KnownRow(None, None)}).train[0] == first


def test_no_prompt_is_quoted_where_a_form_of_logs_gave_a_list_of_messages() -> None:
    prompt = replace(made_prompt("secret", "train"), messages=[{"role": "user", "content": "a"}])  # type: ignore[arg-type]
    plan = PromptPlan((prompt,), (), (), OverlapReport(0, 1, 0, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = Prompts.from_json(json.dumps(plan.kept().as_json()).encode())
    assert kept.prompts[0].messages == tuple(prompt.messages)
