"""The ids of a run's texts: each text is cut up once for whoever reads it."""

from __future__ import annotations

from array import array
from typing import Literal, TypeAlias

from potstill.exchanges.exchange import Exchange
from potstill.models.conversation import Conversation
from potstill.models.conversation.fingerprint import fingerprint_of
from potstill.work.corpus import Text, tokenised

# The student and its parent, whose tokens differ where the vocabulary is cut.
_READERS = 2

# Python 3.11 knows no `array[int]` while it runs.
Ids: TypeAlias = "tuple[array[int], array[int]]"


class CutOnce:
    """Cuts texts into ids as `tokenised` does, and keeps the ids for the next who asks.

    They take four bytes a token. Texts that cannot be laid out raise each time.
    """

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Ids]] = {}
        # A fingerprint takes a while. Who has one is held, so that no other gets its place.
        self._named: list[tuple[Conversation, str]] = []

    def __call__(
        self, row: Exchange, spoken: Conversation, reasoning: Literal["keep", "leave_out"]
    ) -> Text:
        """Return an exchange in the ids of who learns it; see `tokenised`."""
        known = self._of(f"{self._name(spoken)} {reasoning}")
        ids = known.get(row.exchange_id)
        if ids is None:
            text = tokenised(row, spoken, reasoning)
            known[row.exchange_id] = (array("i", text.prompt_ids), array("i", text.response_ids))
            return text
        return Text(row, tuple(ids[0]), tuple(ids[1]), unchanged=False)

    def _name(self, spoken: Conversation) -> str:
        for known, name in self._named:
            if known is spoken:
                return name
        name = fingerprint_of(spoken)
        self._named = [*self._named[1 - _READERS :], (spoken, name)]
        return name

    def _of(self, reader: str) -> dict[str, Ids]:
        known = self._kept.pop(reader, None)
        if known is None:
            known = {}
            while len(self._kept) >= _READERS:
                del self._kept[next(iter(self._kept))]
        self._kept[reader] = known
        return known
