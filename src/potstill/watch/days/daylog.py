"""What each day gave: a file of lines in the store, one a day, that only grows.

A line says which groups were chosen on a day, and what was found of earlier ones on it. It is a
function of the traffic of that day and of those before, so that a line whose `chain` is that of
the store's days as they are now stands, and the first that is another one's ends the file: what
follows is made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from potstill.canonical import canonical_json, digest_of
from potstill.durable import append_line, write_bytes, write_errors
from potstill.watch.evidence import Chooser, FoundPart, Part
from potstill.watch.ingest.store import TrafficStore
from potstill.watch.schema import party_of

# In the store: the lines, and what of days is kept to see whether they have changed.
DAYS_FOLDER, LOG_FILE, ACTIVE_FOLDER, MARKS_FILE = "days", "days.jsonl", "active", "marks.json"
Bets = dict[Part, float]
# Of a part, places of parties in their group: those in which it shows.
Carriers = dict[Part, tuple[int, ...]]


class ChosenGroup(FoundPart):
    """A candidate on the day on which it was chosen: who is in it never changes.

    `once` has ln E of the parts that count once, `bets` of the first days of those that count day
    by day, `follows` which ones these are. `fits_one` and `fits_several` tell whether it looks like
    a customer, or several, who declared no tenant, `share_of_means` how many of those that could
    have means in common have. The rest is as the `Grouping` has it.
    """

    candidate_id: str
    by: Chooser
    parties: tuple[str, ...]
    keys: tuple[str, ...] = ()
    used: tuple[int, ...] = ()
    close: bool = False
    share_of_means: float = 0.0
    fits_one: bool = False
    fits_several: bool = False
    once: Bets
    bets: Bets
    follows: tuple[Part, ...]
    carriers: Carriers = Field(default_factory=dict)


class GroupTested(FoundPart):
    """What a day says of a candidate that was chosen before: ln E by part."""

    candidate_id: str
    bets: Bets
    carriers: Carriers = Field(default_factory=dict)


class DayLine(FoundPart):
    """A day. `again` are candidates that the day's groups are like, `alike` pairs of candidates
    that ask alike or have means in common, `off` the signals that were off when it chose."""

    form: Literal["potstill/watch-day/1"] = Field("potstill/watch-day/1", alias="schema")
    day: str
    chain: str
    chosen: tuple[ChosenGroup, ...]
    again: tuple[str, ...]
    tested: tuple[GroupTested, ...]
    alike: tuple[tuple[str, str], ...]
    off: dict[str, tuple[str, ...]]


def log_path(root: Path) -> Path:
    """Return the file of a store's days."""
    return root / DAYS_FOLDER / LOG_FILE


def read_days(root: Path) -> list[DayLine]:
    """Return a store's days up to the first line that is damaged, or of another version."""
    try:
        whole, _, _ = log_path(root).read_bytes().rpartition(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for text in whole.split(b"\n") if whole else ():
        digest, _, content = text.partition(b" ")
        try:
            line = DayLine.model_validate_json(content)
        except ValidationError:
            break
        if digest != _digest(line):
            break
        found.append(line)
    return found


def append_day(root: Path, line: DayLine) -> None:
    """Add a day to the file, durable on return."""
    append_line(log_path(root), _text(line), TrafficStore.way_out)


def keep_days(root: Path, lines: Sequence[DayLine]) -> None:
    """Leave these days in the file and no others; one that has no others stays as it is."""
    path, text = log_path(root), b"".join(_text(line) + b"\n" for line in lines)
    if (path.read_bytes() if path.is_file() else b"") != text:
        write_bytes(path, text, TrafficStore.way_out)


def forget_days(root: Path, days: Iterable[str], account: str | None = None) -> None:
    """Take out a store's days from the first of some on, or the first that names an account, and
    all that names accounts beside them."""
    if not (folder := root / DAYS_FOLDER).is_dir():
        return
    with write_errors(root, TrafficStore.way_out):
        shutil.rmtree(folder / ACTIVE_FOLDER, ignore_errors=True)
        (folder / MARKS_FILE).unlink(missing_ok=True)
    if not log_path(root).is_file():
        return
    lines, party = read_days(root), None if account is None else party_of(account)
    naming = [line.day for line in lines if any(party in one.parties for one in line.chosen)]
    first = min([*days, *naming], default=None)
    # Written anew in any case: a half line at the end may name anybody.
    keep_days(root, [line for line in lines if first is None or line.day < first])


def _text(line: DayLine) -> bytes:
    return _digest(line) + b" " + canonical_json(line.model_dump(mode="json", by_alias=True))


def _digest(line: DayLine) -> bytes:
    return digest_of(line.model_dump(mode="json", by_alias=True)).encode()
