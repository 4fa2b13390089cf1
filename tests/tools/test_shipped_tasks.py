"""The tasks that ship: exact gold answers, balanced, and no held-out row in training."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

from potstill.exchanges.overlap import overlap
from potstill.exchanges.task_answers import AnswerForm
from potstill.recipe import TaskConfig

TOOLS = Path(__file__).parents[2] / "tools" / "tasks"
DATA = resources.files("potstill").joinpath("data", "tasks")
SCHEMA = json.loads(DATA.joinpath("orders-schema.json").read_text(encoding="utf-8"))
TASKS = ("routing", "orders")
MODULES = ("make", "routing", "routing_words", "orders", "orders_words", "nouns", "wording")


@pytest.fixture(scope="module")
def make() -> Iterator[ModuleType]:
    sys.path.insert(0, str(TOOLS))
    try:
        import make

        yield make
    finally:
        sys.path.remove(str(TOOLS))
        for name in MODULES:
            sys.modules.pop(name, None)


def rows(name: str) -> list[dict[str, str]]:
    lines = DATA.joinpath(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def both(name: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    return rows(name), rows(f"{name}-held-out")


def words(rows: list[dict[str, str]]) -> set[str]:
    return set(re.findall(r"\w+", " ".join(row["message"] for row in rows).casefold()))


def test_the_generator_writes_the_shipped_files_byte_by_byte(make):
    for name, text in make.files().items():
        assert DATA.joinpath(name).read_bytes() == text.encode(), (
            f"run tools/tasks/make.py ({name})"
        )


@pytest.mark.parametrize("name", TASKS)
def test_sizes(name):
    train, held_out = both(name)
    assert len(train) >= 1500
    assert len(held_out) >= 400
    assert max(len(row["message"].split()) for row in train + held_out) <= 50


@pytest.mark.parametrize("name", TASKS)
def test_no_held_out_message_is_in_training_or_near_it(name):
    train, held_out = ([row["message"] for row in part] for part in both(name))
    found = overlap(train, held_out)
    assert (found.exact, found.near) == (0, 0)
    assert len(set(train)) == len(train)
    assert len(set(held_out)) == len(held_out)


def test_every_queue_is_as_frequent_and_allowed(make):
    import routing

    form = AnswerForm("label", routing.QUEUES)
    for part in both("routing"):
        counts = Counter(form.gold(row["queue"], "row") for row in part)
        assert set(counts) == set(routing.QUEUES)
        assert len(set(counts.values())) == 1


def test_every_order_fits_the_schema_and_spreads():
    form = AnswerForm.of(TaskConfig(kind="json", json_schema=SCHEMA))
    for part in both("orders"):
        answers = [form.gold(row["answer"], "row") for row in part]
        assert len({answer["item"] for answer in answers}) >= 30
        assert len({answer["city"] for answer in answers}) >= 40
        assert set(Counter(answer["quantity"] for answer in answers)) == set(range(1, 21))
        days = Counter(answer["day"] for answer in answers)
        assert days[None] / len(part) == pytest.approx(0.3, abs=0.01)
        assert min(days.values()) / len(part) > 0.07


def test_what_is_ordered_stands_in_the_message(make):
    import orders

    for part in both("orders"):
        for row in part:
            gold, text = json.loads(row["answer"]), row["message"].casefold()
            assert gold["city"].casefold() in text
            assert gold["day"] is None or gold["day"].casefold() in text
            one, many = gold["item"], orders.plural(gold["item"])
            assert one in text or many in text


@pytest.mark.parametrize("name", TASKS)
def test_half_of_the_held_out_rows_use_nothing_that_training_has(name, make):
    import nouns

    train, held_out = both(name)
    assert {row["wording"] for row in train} == {"known"}
    new = [row for row in held_out if row["wording"] == "new"]
    assert len(new) / len(held_out) == pytest.approx(0.5, abs=0.01)
    for known, unseen in (nouns.ITEMS, nouns.CITIES, nouns.NAMES):
        assert not {w.casefold() for w in unseen} & {w.casefold() for w in known}
    cities = {city.casefold() for city in nouns.CITIES[1]}
    assert not cities & words(train)
    assert cities & words(new)


def test_no_wording_is_in_both_parts(make):
    import orders_words
    import routing_words

    parts = [
        *routing_words.ASKS.values(),
        *routing_words.TOPICS.values(),
        *routing_words.SETTLED.values(),
        routing_words.DENIED,
        routing_words.CORRECTED,
        orders_words.DATED,
        orders_words.UNDATED,
        orders_words.ASIDES,
        *orders_words.CORRECTIONS.values(),
    ]
    assert all(not set(known) & set(unseen) for known, unseen in parts)


@pytest.mark.parametrize(("name", "most"), [("routing", 0.35), ("orders", 0.35)])
def test_messages_mislead_more_often_than_not(name, most):
    for part in both(name):
        styles = Counter(row["style"] for row in part)
        assert styles["plain"] / len(part) < most
        assert len(styles) == 4


def test_looking_for_a_queues_words_does_not_solve_routing(make):
    import routing_words

    def guess(message: str) -> set[str]:
        text = message.casefold()
        return {
            queue
            for queue, (known, new) in routing_words.TOPICS.items()
            if any(topic.replace("{item}", "").strip() in text for topic in known + new)
        }

    held_out = rows("routing-held-out")
    right = sum(guess(row["message"]) == {row["queue"]} for row in held_out)
    assert right / len(held_out) < 0.2
