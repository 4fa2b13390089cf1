"""Pieces of templates are counted as they stand in sketches, and requests sorted by them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("ibis", reason="campaigns are found with the extra `watch`")

from potstill.watch.engines import DuckEngine
from potstill.watch.ingest.engine import connect
from potstill.watch.signals.content import of_templates, template_use
from potstill.watch.signals.traffic import Traffic
from potstill.watch.sketches import sketched, slots_of

SEED = 11
KEY = bytes(range(16))
TEMPLATE = (
    "grade the following essay as a strict teacher would do and give each paragraph a mark from "
    "one to ten with a reason for it then write down which of the two drafts you prefer"
)


def texts(rng: np.random.Generator) -> tuple[list[str], list[str], list[bool]]:
    """Return parties, prompts, and whether each is of the one template."""
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(600)]
    rows = []
    for party in range(8):
        for number in range(40):
            said = " ".join(rng.choice(words, 12 if number % 2 else 30))
            rows.append((f"a:{party}", f"{TEMPLATE} {said}" if number % 2 else said, number % 2))
    return [r[0] for r in rows], [r[1] for r in rows], [bool(r[2]) for r in rows]


def test_pieces_are_counted_as_they_stand_in_sketches(tmp_path: Path) -> None:
    party, prompts, _ = texts(np.random.default_rng(SEED))
    sketches = sketched(pa.array([*prompts, None]), KEY).sketch
    table = pa.table({"party": [*party, "a:0"], "prompt_sketch": sketches})
    backend = connect(tmp_path)
    backend.create_table("requests", table)
    engine = DuckEngine(backend)
    traffic = Traffic(engine, backend.table("requests"), backend.table("requests"), (), {})
    use = template_use(traffic)
    backend.disconnect()
    parties = [use.names[one] for one in use.party_E.tolist()]
    found = dict(
        zip(zip(parties, use.piece_E.tolist(), strict=True), use.n_E.tolist(), strict=True)
    )
    slots = slots_of(sketches.slice(0, len(prompts))).astype(int)
    count: Counter[tuple[str, int]] = Counter()
    for name, row in zip(party, slots, strict=True):
        # The first and the third slot of each band of four.
        count.update((name, (slot << 16) + int(row[slot])) for slot in range(0, 64, 2))
    expected = {key: n for key, n in count.items() if n >= 2 and n * 50 >= 40}
    assert found == expected
    assert len(use.n_E) == len(expected) > 100
    assert use.asked_P.tolist() == [40] * 8


def test_requests_of_a_common_template_are_told_from_others() -> None:
    _, prompts, made = texts(np.random.default_rng(SEED))
    sketches = pa.chunked_array([sketched(pa.array(prompts), KEY).sketch])
    alone = slots_of(sketched(pa.array([TEMPLATE]), KEY).sketch)[0].astype(int)
    pieces = np.array([(slot << 16) + alone[slot] for slot in range(0, 64, 2)])
    assert of_templates(sketches, pieces).tolist() == made
    assert of_templates(sketches, pieces[:0]).all()
    assert not len(of_templates(sketches.slice(0, 0), pieces))
