"""Which served answers twins can be drawn for, and why others have none.

A twin is a fresh answer to a served prompt, drawn as the served one was. Where a row does not say
how that was, or where a fresh answer could not have been served in its place, there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from potstill.errors import PotstillError
from potstill.logs.content import other_than_text
from potstill.logs.serving import ServedCall, ServedMark
from potstill.text.finish import Ending, ending_of


class NoTwin(StrEnum):
    """Why a row has no twins."""

    NO_ROW = "no row of a serving log"
    CACHED = "answered from a cache"
    FOLLOW_UP = "a follow-up turn, whose prompt may quote an answer"
    MEDIA = "images, sounds or files in its prompt"
    TOOLS = "tools on offer or called"
    SEVERAL = "one of several answers to a request"
    NO_TEMPERATURE = "no temperature"
    GREEDY = "temperature 0, whose twins are all one text"
    SAMPLING_OPEN = "top_p, top_k or max_tokens not stated"
    OTHER_SAMPLING = "drawn with settings that twins are not drawn with"
    MARK_OPEN = "not said whether it is marked"
    GUMBEL = "a Gumbel mark, whose twins are all one text"
    OTHER_MARK = "a mark that is not potstill's"
    ENDING = "ended neither by itself nor at its length"
    NO_PROMPT_IDS = "no prompt_token_ids"
    NO_RESPONSE_IDS = "no response_token_ids"
    NO_SNAPSHOT = "no snapshot"
    NO_ENGINE = "no engine"
    NO_DTYPE = "no dtype"
    NO_TOKENIZER = "no tokenizer"
    SAME_PROMPT = "a prompt that an earlier row has"


# What a row could have said: whoever writes the log can have it say so from now on.
_UNSAID = (
    NoTwin.NO_TEMPERATURE,
    NoTwin.SAMPLING_OPEN,
    NoTwin.MARK_OPEN,
    NoTwin.NO_PROMPT_IDS,
    NoTwin.NO_RESPONSE_IDS,
    NoTwin.NO_SNAPSHOT,
    NoTwin.NO_ENGINE,
    NoTwin.NO_DTYPE,
    NoTwin.NO_TOKENIZER,
)


@dataclass
class TwinTally:
    """Counts while a serving log is read for twins.

    `left_out` counts rows by the first reason that holds, `unsaid` by everything that they do
    not say.
    """

    rows: int = 0
    usable: int = 0
    left_out: Counter[NoTwin] = field(default_factory=Counter)
    unsaid: Counter[NoTwin] = field(default_factory=Counter)

    def words(self) -> str:
        """Return in words what was left out, the most frequent first."""
        return _words(self.left_out)


def why_no_twins(row: ServedCall) -> Iterator[NoTwin]:
    """Yield everything that keeps a row from having twins; nothing where it has them."""
    sampling, mark = row.sampling, row.watermark
    scheme = mark.scheme if isinstance(mark, ServedMark) else None
    truncation = (sampling.top_p, sampling.top_k, sampling.max_tokens)
    found = {
        NoTwin.CACHED: row.cached,
        NoTwin.FOLLOW_UP: row.turn > 1,
        NoTwin.MEDIA: any(other_than_text(m.get("content")) for m in row.messages),
        NoTwin.TOOLS: row.tools is not None or row.tool_calls is not None,
        NoTwin.SEVERAL: sampling.n > 1,
        NoTwin.NO_TEMPERATURE: sampling.temperature is None,
        NoTwin.GREEDY: sampling.temperature == 0,
        NoTwin.SAMPLING_OPEN: None in truncation,
        NoTwin.OTHER_SAMPLING: bool(sampling.others),
        NoTwin.MARK_OPEN: mark is None,
        NoTwin.GUMBEL: scheme == "gumbel",
        NoTwin.OTHER_MARK: scheme not in (None, "gumbel", "green"),
        NoTwin.ENDING: ending_of(row.finish_reason) not in (Ending.WHOLE, Ending.CUT),
        NoTwin.NO_PROMPT_IDS: not row.prompt_token_ids,
        NoTwin.NO_RESPONSE_IDS: not row.response_token_ids,
        NoTwin.NO_SNAPSHOT: row.snapshot is None,
        NoTwin.NO_ENGINE: row.engine is None,
        NoTwin.NO_DTYPE: row.dtype is None,
        NoTwin.NO_TOKENIZER: row.tokenizer is None,
    }
    yield from (reason for reason, holds in found.items() if holds)


def with_twins(
    rows: Iterable[tuple[ServedCall | NoTwin, str]], tally: TwinTally
) -> Iterator[ServedCall]:
    """Yield the rows that twins can be drawn for, the first of each prompt; count the others."""
    prompts: set[str] = set()
    for row, _ in rows:
        tally.rows += 1
        if isinstance(row, NoTwin):
            tally.left_out[row] += 1
            continue
        reasons = list(why_no_twins(row))
        tally.unsaid.update(reason for reason in reasons if reason in _UNSAID)
        if not reasons and row.prompt_id in prompts:
            reasons = [NoTwin.SAME_PROMPT]
        if reasons:
            tally.left_out[reasons[0]] += 1
            continue
        prompts.add(row.prompt_id)
        tally.usable += 1
        yield row


def require_twins(tally: TwinTally, name: str, needed: int = 1) -> None:
    """Raise PotstillError, naming what is missing, where too few rows have twins."""
    if tally.usable >= needed:
        return
    if not tally.rows:
        raise PotstillError(f"the serving log {name} holds no rows; give one of what was served")
    said = _words(tally.left_out) or "there are no more"
    unsaid = [reason.value for reason, _ in _most(tally.unsaid)]
    way_out = (
        f"have it say what it leaves out ({', '.join(unsaid)})"
        if unsaid
        else "give a log of more first turns"
    )
    raise PotstillError(
        f"{tally.usable:,} of the {tally.rows:,} rows of the serving log {name} can have twins, "
        f"and {needed:,} are needed: {said}; {way_out}"
    )


def _most(counts: Mapping[NoTwin, int]) -> list[tuple[NoTwin, int]]:
    order = list(NoTwin)
    return sorted(counts.items(), key=lambda item: (-item[1], order.index(item[0])))


def _words(counts: Mapping[NoTwin, int]) -> str:
    return ", ".join(f"{count:,} {reason.value}" for reason, count in _most(counts))
