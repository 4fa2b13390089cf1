"""Training exchanges that hold a run of words of an evaluation set.

The rule is that of Brown et al. 2020, "Language Models are Few-Shot Learners" (arXiv 2005.14165,
appendix C): a shared run of 13 words; a shorter evaluation text counts where it stands whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from potstill.exchanges.exchange import Exchange
from potstill.text.tool_calls import strings_in
from potstill.text.words import is_word, words_of

LEAST_WORDS = 5
WordRun = tuple[str, ...]


def evaluation_runs(texts: Sequence[str], words: int = 13) -> frozenset[WordRun]:
    """Return the runs of words to look for: all of that length, and whole shorter texts.

    Signs stand among the words, but texts of fewer than 5 words proper give none: they would be
    found everywhere.
    """
    runs: set[WordRun] = set()
    for text in texts:
        found = words_of(text)
        if len(found) >= words:
            runs.update(_runs(found, words))
        elif sum(map(is_word, found)) >= LEAST_WORDS:
            runs.add(found)
    return frozenset(runs)


def contaminated(
    rows: Sequence[Exchange], runs: Collection[WordRun], *, common: int | None = None
) -> dict[str, str]:
    """Return the id of each exchange that holds one of the runs, and how long that is.

    Every message, the response, the reasoning and every text of a call are looked through, each by
    itself. Runs that
    stand in more than `common` prompts are a template's and count for nothing.
    """
    lengths = sorted({len(run) for run in runs})
    held = {row.exchange_id: _held(row, runs, lengths) for row in rows}
    if common is not None:
        prompts: dict[WordRun, set[str]] = defaultdict(set)
        for row in rows:
            for run in held[row.exchange_id]:
                prompts[run].add(row.prompt_id)
        typical = {run for run, where in prompts.items() if len(where) > common}
        held = {exchange_id: some - typical for exchange_id, some in held.items()}
    return {
        exchange_id: f"{max(map(len, some))} words of an evaluation set"
        for exchange_id, some in held.items()
        if some
    }


def _held(row: Exchange, runs: Collection[WordRun], lengths: Sequence[int]) -> set[WordRun]:
    texts = [text for message in row.messages for text in strings_in(message)]
    texts += [row.response, row.reasoning or "", *strings_in(row.calls)]
    words = [words_of(text) for text in texts]
    return {
        run for length in lengths for some in words for run in _runs(some, length) if run in runs
    }


def _runs(words: Sequence[str], length: int) -> Iterator[WordRun]:
    return (tuple(words[i : i + length]) for i in range(len(words) - length + 1))
