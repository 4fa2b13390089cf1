"""Which prompts a figure lacks, counted by reason from a store that a test fills by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.exchanges.exchange import Exchange, Prompt, Split
from potstill.exchanges.rows import Mark
from potstill.exchanges.store import ExchangeStore
from potstill.work.left_out import left_out


def prompt(name: str) -> Prompt:
    return Prompt(name, ({"role": "user", "content": name},), "held_out", "starter")


def answered(name: str, *, temperature: float = 1.0) -> Exchange:
    asked = prompt(name)
    return Exchange(
        exchange_id=f"{name} at {temperature}",
        prompt_id=name,
        split=asked.split,
        messages=asked.messages,
        response="Yes.",
        prompt_token_ids=None,
        response_token_ids=None,
        tokenizer=None,
        finish_reason="stop",
        teacher="blake3:teacher",
        sampling={"temperature": temperature},
        sample_index=0,
        terms_decision="allow",
        source=asked.source,
        created_at="2026-01-01T00:00:00Z",
    )


def reasons_in(
    store: ExchangeStore, split: Split, wanted: Any, used: Any, **how: Any
) -> dict[str, int]:
    """Return why prompts of a split are in no figure."""
    return left_out(store.read(split), store.marks(), wanted, used, **how)


def test_each_reason_is_counted_and_the_most_frequent_comes_first(tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    store.append([answered(name) for name in ("used", "empty", "long")])
    store.mark([Mark("empty at 1.0", "curate", False, "empty:nothing in it")])
    wanted = [prompt(name) for name in ("used", "empty", "long", "lost", "lost too")]
    found = reasons_in(store, "held_out", wanted, {"used"}, greedy=None, unasked=0)
    assert list(found.items()) == [("no_answer", 2), ("empty", 1), ("too_long", 1)]
    found = reasons_in(store, "held_out", wanted, {"used"}, greedy=None, unasked=4)
    assert list(found.items()) == [("too_long", 5), ("no_answer", 2), ("empty", 1)]
    store.close()


def test_only_answers_of_the_kind_that_the_figure_is_made_of_count(tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    store.append([answered("both"), answered("both", temperature=0.0), answered("drawn")])
    store.mark([Mark("both at 1.0", "curate", False, "invalid")])
    wanted = [prompt("both"), prompt("drawn")]

    def reasons(greedy: bool | None) -> dict[str, int]:
        return reasons_in(store, "held_out", wanted, (), greedy=greedy, unasked=0)

    assert reasons(False) == {"invalid": 1, "too_long": 1}
    assert reasons(True) == {"too_long": 1, "no_answer": 1}
    assert reasons_in(store, "validation", wanted, (), greedy=None, unasked=0) == {"no_answer": 2}
    store.close()


def test_nothing_is_counted_where_all_is_used(tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    assert reasons_in(store, "held_out", [], (), greedy=False, unasked=0) == {}
    store.close()
