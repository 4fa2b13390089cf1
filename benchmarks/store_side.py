"""One side of benchmarks/store.py, in a process of its own, with whichever potstill is on its path.

    python store_side.py make DIR COUNT [open]   a store, compacted unless it stays open
    python store_side.py copy DIR FROM           the same exchanges and marks, written anew
    python store_side.py before|after DIR        the store calls of a run's stages, timed

`before` is what the stages of commit 17f08f5 ask the store (its `stages/curating.py`,
`shrinking.py`, `training.py`, `evaluating.py`, `inputs.py` and `Job.exchanges`, `Job.hidden`) for
the demo's recipe: a teacher with weights, a cut whose vocabulary is trimmed too, held-out text
drawn and greedy. `after` is what a stage needs to end up with the same exchanges in memory, each
read once a stage. One store serves a run's stages in both, as there; what a stage has read is held
until it ends, and nothing is held from one stage to the next. The marks that curate gives are
those that are stored, so that neither side writes. Models and losses are left out.

Prints one JSON line: seconds of each stage, bytes (highest resident memory less that after
imports), and a digest of what each stage was given, which both sides have to share.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from potstill.exchanges.exchange import Exchange, exchange_id_of
from potstill.exchanges.rows import Mark
from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8
from potstill.exchanges.store import ExchangeStore

try:
    from potstill.text.turns import prompt_id_of
except ImportError:  # where the commit before has it
    from potstill.exchanges.exchange import prompt_id_of  # type: ignore[attr-defined,no-redef]

PROMPT, RESPONSE = 40, 160
VOCABULARY = 49_152
TEACHER = "blake3:0123456789abcdef0123456789abcdef"
MARKER = "curate"
# Out of 50: two validation prompts, three held out, of which two are answered by drawing.
SPLITS = ("validation",) * 2 + ("held_out",) * 3 + ("train",) * 45
AT_ONCE = 2_000
GROUP = 64


def main() -> None:
    what, root = sys.argv[1], Path(sys.argv[2])
    start = resident()
    if what == "make":
        make(root, int(sys.argv[3]), compacted=sys.argv[4:] != ["open"])
    elif what == "copy":
        copy(root, Path(sys.argv[3]))
    else:
        print(json.dumps(timed(ExchangeStore(root), before if what == "before" else after, start)))


def resident() -> int:
    """Return the bytes of memory that this process takes now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def timed(store: ExchangeStore, stages: Any, start: int) -> dict[str, Any]:
    """Return the seconds and the digest of each stage, and the highest memory of all."""
    seconds, given = {}, {}
    for stage in stages():
        begun = time.perf_counter()
        held = stage(store)
        seconds[stage.__name__.partition("_")[0]] = time.perf_counter() - begun
        given[stage.__name__.partition("_")[0]] = digest(held)
        del held
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    store.close()
    return {"seconds": seconds, "bytes": peak - start, "given": given}


def digest(lists: Sequence[list[Exchange]]) -> str:
    """Return a digest of lists of exchanges: their ids, tokens and words."""
    hasher = hashlib.blake2b(digest_size=8)
    for rows in lists:
        for row in rows:
            hasher.update(row.exchange_id.encode() + row.response.encode())
            hasher.update(b"%d %d" % (sum(row.ids[0]), sum(row.ids[1])))
        hasher.update(b"\n")
    return hasher.hexdigest()


def before() -> list[Callable[[ExchangeStore], list[list[Exchange]]]]:
    """Return the stages of commit 17f08f5."""
    return [curate_before, shrink_before, train_before, evaluate_before]


def after() -> list[Callable[[ExchangeStore], list[list[Exchange]]]]:
    """Return the stages that read once."""
    return [curate_after, shrink_after, train_after, evaluate_after]


def curate_before(store: ExchangeStore) -> list[list[Exchange]]:
    """`curate_answers`: every answer is judged and marked."""
    rows = store.read()
    store.mark(marks_of(rows))
    return [rows]


def curate_after(store: ExchangeStore) -> list[list[Exchange]]:
    rows = store.read()
    store.mark(marks_of(rows))
    return [rows]


def shrink_before(store: ExchangeStore) -> list[list[Exchange]]:
    """`calibration_rows`, `token_weights` with `_spread_states`, and `validation`."""
    rows = exchanges(store, "train")  # calibration_rows: parent_ids
    ids = [row.ids for row in exchanges(store, "train")]  # token_weights: parent_ids
    rows = exchanges(store, "train")  # _spread_states
    for at in range(0, len(rows), GROUP):
        hidden(store, rows[at : at + GROUP])
    del ids
    validation = exchanges(store, "validation")
    hidden(store, validation)
    return [rows, validation]


def shrink_after(store: ExchangeStore) -> list[list[Exchange]]:
    rows = kept(store, "train")
    for at in range(0, len(rows), GROUP):
        hidden_once(store, rows[at : at + GROUP])
    validation = kept(store, "validation")
    hidden_once(store, validation)
    return [rows, validation]


def train_before(store: ExchangeStore) -> list[list[Exchange]]:
    """`train_student` up to the first step."""
    rows = exchanges(store, "train")
    {row.exchange_id for row in rows} & store.target_ids(TEACHER, HIDDEN_FP16)
    validation = exchanges(store, "validation")
    hidden(store, validation)
    return [rows, validation]


def train_after(store: ExchangeStore) -> list[list[Exchange]]:
    rows = kept(store, "train")
    {row.exchange_id for row in rows} & store.target_ids(TEACHER, HIDDEN_FP16)
    validation = kept(store, "validation")
    hidden_once(store, validation)
    return [rows, validation]


def evaluate_before(store: ExchangeStore) -> list[list[Exchange]]:
    """`held_out`, once for drawn text and once for greedy."""
    found = []
    for greedy in (False, True):
        rows = [row for row in exchanges(store, "held_out") if is_greedy(row) == greedy]
        hidden(store, rows)
        found.append(rows)
    return found


def evaluate_after(store: ExchangeStore) -> list[list[Exchange]]:
    rows = kept(store, "held_out")
    found = [[row for row in rows if is_greedy(row) == greedy] for greedy in (False, True)]
    for some in found:
        hidden_once(store, some)
    return found


def exchanges(store: ExchangeStore, split: Any) -> list[Exchange]:
    """Return the kept exchanges of a split as `Job.exchanges` of 17f08f5 does."""
    dropped = {mark.exchange_id for mark in store.marks() if not mark.kept}
    return [row for row in store.read(split) if row.exchange_id not in dropped]


def hidden(store: ExchangeStore, rows: Sequence[Exchange]) -> None:
    """Ask for stored states as `Job.hidden` of 17f08f5 does; there are none."""
    for spec in (HIDDEN_INT8, HIDDEN_FP16):
        stored = store.target_ids(TEACHER, spec)
        store.targets(TEACHER, spec, [r.exchange_id for r in rows if r.exchange_id in stored])


def kept(store: ExchangeStore, split: Any) -> list[Exchange]:
    """Return the kept exchanges of a split."""
    dropped = store.dropped()
    return [row for row in store.read(split) if row.exchange_id not in dropped]


def hidden_once(store: ExchangeStore, rows: Sequence[Exchange]) -> None:
    """Ask for stored states; there are none."""
    ids = [row.exchange_id for row in rows]
    for spec in (HIDDEN_INT8, HIDDEN_FP16):
        store.targets(TEACHER, spec, store.with_targets(TEACHER, spec, ids))


def is_greedy(row: Exchange) -> bool:
    return bool(row.sampling["temperature"] == 0)


def marks_of(rows: Sequence[Exchange]) -> list[Mark]:
    """Return what curation says: one answer in twenty is too short."""
    return [
        Mark(row.exchange_id, MARKER, not bad, "length: too short" if bad else "")
        for row in rows
        for bad in [int(row.exchange_id[:8], 16) % 20 == 0]
    ]


def make(root: Path, count: int, *, compacted: bool) -> None:
    """Write a store of `count` exchanges, marked, in shards or in a journal still."""
    store = ExchangeStore(root)
    drawn = random.Random(0)
    made = (exchange(number, drawn) for number in range(count))
    while rows := list(islice(made, AT_ONCE)):
        store.append(rows)
        store.mark(marks_of(rows))
    if compacted:
        store.compact()
    store.close()


def copy(root: Path, source: Path) -> None:
    """Write the exchanges and marks of another store, and compact."""
    theirs, ours = ExchangeStore(source), ExchangeStore(root)
    rows = iter(theirs.read())
    while some := list(islice(rows, AT_ONCE)):
        ours.append(some)
    ours.mark(theirs.marks())
    ours.compact()
    ours.close()


def exchange(number: int, drawn: random.Random) -> Exchange:
    """Return an exchange of 200 tokens, as decoding a prompt gives one."""
    asked = words(drawn, PROMPT)
    messages = ({"role": "user", "content": asked},)
    split = SPLITS[number % len(SPLITS)]
    greedy = split == "held_out" and number % 3 == 0
    sampling = {
        "temperature": 0.0 if greedy else 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_tokens": RESPONSE,
        "seed": 0,
    }
    return Exchange(
        exchange_id=exchange_id_of(TEACHER, messages, sampling, 0),
        prompt_id=prompt_id_of(messages),
        split=split,  # type: ignore[arg-type]
        messages=messages,
        response=words(drawn, RESPONSE),
        prompt_token_ids=tuple(token_ids(drawn, PROMPT)),
        response_token_ids=tuple(token_ids(drawn, RESPONSE)),
        tokenizer="blake3:fedcba9876543210fedcba9876543210",
        finish_reason="length",
        teacher=TEACHER,
        sampling=sampling,
        sample_index=0,
        terms_decision='{"outcome":"allow","subject":"teacher","licences":["apache-2.0"]}',
        source="starter",
        created_at=f"2026-01-01T00:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
        latency_s=drawn.random(),
        usage={"prompt_tokens": PROMPT, "completion_tokens": RESPONSE},
    )


def words(drawn: random.Random, count: int) -> str:
    """Return text of so many tokens: words of about four letters."""
    return " ".join(f"{drawn.getrandbits(16):x}" for _ in range(count))


def token_ids(drawn: random.Random, count: int) -> Iterator[int]:
    """Yield token ids, frequent ones more often."""
    return (int(VOCABULARY ** drawn.random()) for _ in range(count))


if __name__ == "__main__":
    main()
