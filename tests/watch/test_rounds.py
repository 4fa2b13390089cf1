"""Acting together on subjects of one's own, and on one subject."""

from __future__ import annotations

import numpy as np

from potstill.watch.rounds import on_their_own

SEED = 5


def rounds(one_subject: bool, fixed: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 40 rounds of 8 parties: whose, when, and sketches with `fixed` slots of a template."""
    rng = np.random.default_rng(SEED)
    party, when = np.tile(np.arange(8), 40), np.repeat(np.arange(40), 8)
    slots = rng.integers(0, 2**16, (320, 64)).astype(np.uint16)
    if one_subject:
        slots = slots[::8][when]
    slots[:, :fixed] = 7
    return party, when, slots


def test_work_that_is_dealt_out_is_on_subjects_of_their_own() -> None:
    assert on_their_own(*rounds(one_subject=False))


def test_a_feed_is_one_subject() -> None:
    assert not on_their_own(*rounds(one_subject=True))


def test_too_few_say_nothing() -> None:
    party, when, slots = rounds(one_subject=False)
    assert not on_their_own(party[:30], when[:30], slots[:30])
    # Nobody is there with another one.
    assert not on_their_own(party, np.arange(320), slots)


def test_the_order_of_rows_decides_nothing() -> None:
    party, when, slots = rounds(one_subject=False)
    order = np.random.default_rng(SEED).permutation(len(party))
    assert on_their_own(party[order], when[order], slots[order])
