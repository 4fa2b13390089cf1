"""The tasks that ship: exact gold answers, balanced, and no held-out row in any other file."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

from potstill.exchanges.overlap import overlap
from potstill.recipe import TaskConfig
from potstill.text.answers import AnswerForm

TOOLS = Path(__file__).parents[2] / "tools" / "tasks"
DATA = resources.files("potstill").joinpath("data", "tasks")
SCHEMA = json.loads(DATA.joinpath("orders-schema.json").read_text(encoding="utf-8"))
TASKS = ("routing", "orders")
MODULES = tuple(path.stem for path in TOOLS.glob("*.py"))


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


def three(name: str) -> tuple[list[dict[str, str]], ...]:
    return rows(name), rows(f"{name}-unlabelled"), rows(f"{name}-held-out")


def messages(rows: list[dict[str, str]]) -> list[str]:
    return [row["message"] for row in rows]


def of_wording(rows: list[dict[str, str]], wording: str) -> list[dict[str, str]]:
    return [row for row in rows if row["wording"] == wording]


def words(rows: list[dict[str, str]]) -> set[str]:
    return set(re.findall(r"\w+", " ".join(row["message"] for row in rows).casefold()))


def test_the_generator_writes_the_shipped_files_byte_by_byte(make):
    for name, text in make.files().items():
        assert DATA.joinpath(name).read_bytes() == text.encode(), (
            f"run tools/tasks/make.py ({name})"
        )


@pytest.mark.parametrize("name", TASKS)
def test_sizes(name):
    train, unlabelled, held_out = three(name)
    assert (len(train), len(unlabelled), len(held_out)) == (1680, 2100, 1050)
    assert max(len(text.split()) for text in messages(train + unlabelled + held_out)) <= 50


@pytest.mark.parametrize("name", TASKS)
def test_no_held_out_message_is_in_another_file_or_near_one_there(name):
    train, unlabelled, held_out = (messages(part) for part in three(name))
    for part in (train, unlabelled):
        found = overlap(part, held_out)
        assert (found.exact, found.near) == (0, 0)
    everything = train + unlabelled + held_out
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("name", TASKS)
def test_unlabelled_rows_hold_no_answer(name):
    assert {tuple(row) for row in rows(f"{name}-unlabelled")} == {("message", "wording")}


@pytest.mark.parametrize("name", TASKS)
def test_how_many_rows_have_which_wording(name):
    train, unlabelled, held_out = (Counter(row["wording"] for row in part) for part in three(name))
    assert train == {"known": 1680}
    assert unlabelled == {"known": 1050, "unlabelled": 1050}
    assert held_out == {"known": 350, "new": 350, "unlabelled": 350}


@pytest.mark.parametrize(
    ("task", "field", "classes"), [("routing", "queue", 7), ("orders", "day", 2)]
)
def test_classes_are_as_frequent_in_every_wording_before_answers_are_dropped(
    task, field, classes, make, monkeypatch
):
    monkeypatch.setattr(make, "_without_answer", dict)
    lines = make.files()[f"{task}-unlabelled.jsonl"].splitlines()
    labelled = [json.loads(line) for line in lines]
    for part in (labelled, rows(f"{task}-held-out")):
        for wording in {row["wording"] for row in part}:
            chosen = of_wording(part, wording)
            if task == "orders":
                counts = Counter(json.loads(row["answer"])[field] is None for row in chosen)
                assert counts[True] / len(chosen) == 0.3
            else:
                counts = Counter(row[field] for row in chosen)
                assert len(set(counts.values())) == 1
            assert len(counts) == classes


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


def wordings(part: int) -> list[str]:
    """Return every sentence, frame and phrase of one part."""
    import orders_words
    import routing_asks
    import routing_frames

    by_class = (
        routing_asks.ASKS,
        routing_frames.TOPICS,
        routing_frames.SETTLED,
        orders_words.CORRECTIONS,
    )
    lists = [
        *(parts for table in by_class for parts in table.values()),
        routing_frames.DENIED,
        routing_frames.CORRECTED,
        orders_words.DATED,
        orders_words.UNDATED,
        orders_words.ASIDES,
    ]
    return [text for parts in lists for text in parts[part]]


def greetings(part: int) -> set[str]:
    import orders_words
    import routing_frames

    lists = [
        parts[part]
        for module in (routing_frames, orders_words)
        for parts in (module.OPENINGS, module.CLOSINGS)
    ]
    return {text for texts in lists for text in texts if text}


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (1, 2)])
def test_no_word_is_in_two_parts(one, other, make):
    import nouns

    for parts in (nouns.ITEMS, nouns.CITIES, nouns.NAMES, nouns.RELATIVES):
        assert not {w.casefold() for w in parts[one]} & {w.casefold() for w in parts[other]}
    found = overlap(wordings(one), wordings(other))
    assert (found.exact, found.near) == (0, 0)
    assert not greetings(one) & greetings(other)


@pytest.mark.parametrize("part", range(3))
def test_no_word_is_twice_in_its_part(part, make):
    import nouns

    for names in (nouns.ITEMS[part], nouns.CITIES[part], nouns.NAMES[part], wordings(part)):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", TASKS)
def test_cities_are_only_where_their_wording_is(name, make):
    import nouns

    def named(rows: list[dict[str, str]], wording: int) -> set[str]:
        return {city.casefold() for city in nouns.CITIES[wording]} & words(rows)

    known, new, unlabelled = range(3)
    train, logged, held_out = three(name)
    assert not (named(train, new) | named(train, unlabelled))
    assert not named(logged, new)
    for rows_, wording in ((logged, "unlabelled"), (held_out, "unlabelled"), (held_out, "new")):
        assert not named(of_wording(rows_, wording), known)
    assert not named(of_wording(held_out, "unlabelled"), new)
    assert not named(of_wording(held_out, "new"), unlabelled)
    # What must not be elsewhere is somewhere.
    assert named(of_wording(held_out, "new"), new)
    assert len(named(of_wording(logged, "unlabelled"), unlabelled)) >= 30


@pytest.mark.parametrize("name", TASKS)
def test_a_student_sees_the_words_of_unlabelled_held_out_rows_only_without_answers(name):
    """Words of that slice that training lacks are in the unlabelled rows; new ones are not."""

    def unseen(wording: str, *sources: list[dict[str, str]]) -> float:
        found = words(of_wording(held_out, wording))
        return len(found - words([row for rows_ in sources for row in rows_])) / len(found)

    train, logged, held_out = three(name)
    assert unseen("unlabelled", train) > 0.3
    # Typing errors and numbers of orders.
    assert unseen("unlabelled", train, logged) < 0.5 * unseen("unlabelled", train)
    assert unseen("new", train, logged) > 0.8 * unseen("new", train)


@pytest.mark.parametrize(("name", "most"), [("routing", 0.35), ("orders", 0.35)])
def test_messages_mislead_more_often_than_not(name, most):
    for part in both(name):
        styles = Counter(row["style"] for row in part)
        assert styles["plain"] / len(part) < most
        assert len(styles) == 4


def test_looking_for_a_queues_words_does_not_solve_routing(make):
    import routing_frames

    def guess(message: str) -> set[str]:
        text = message.casefold()
        return {
            queue
            for queue, parts in routing_frames.TOPICS.items()
            if any(topic.replace("{item}", "").strip() in text for topic in chain(*parts))
        }

    held_out = rows("routing-held-out")
    for wording in ("known", "unlabelled", "new"):
        chosen = of_wording(held_out, wording)
        right = sum(guess(row["message"]) == {row["queue"]} for row in chosen)
        assert right / len(chosen) < 0.2
