"""Calibration: true p-values pass, false ones are found out, own text is taken."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from made_keys import key_of

from potstill.errors import PotstillError
from potstill.watermark.calibration import calibrate
from potstill.watermark.null_texts import BoilerplateText, LoopingText, OwnText, ZipfText, kinds_of
from potstill.watermark.prf import Columns
from potstill.watermark.schemes import GreenList, Gumbel, Scores
from potstill.watermark.token_texts import TokenTexts

KEY = key_of("calibration")


def test_true_p_values_pass_and_the_table_is_json() -> None:
    schemes = [GreenList(KEY, 1, 0.25, 2.0), Gumbel(KEY, 2)]
    found = calibrate(schemes, kinds_of(1_000), trials=400, seed=1)
    assert found.holds
    assert len(found.rows) == 8
    assert found.ks_p_min == min(row.adjusted_ks_p for row in found.rows) > 0.01
    assert json.loads(json.dumps(found.as_dict()))["rows"][0]["text"] == "even"
    assert all(row.levels[0].exact <= row.levels[0].upper for row in found.rows)


@dataclass(frozen=True)
class _Greener(GreenList):
    """A list that is greener than it says."""

    def scores(self, inputs: Columns) -> Scores:
        return np.maximum(
            super().scores(inputs), self.decoy(10**9).green(inputs) & (inputs[-1] % 9 == 0)
        )


def test_false_p_values_are_found_out() -> None:
    found = calibrate([_Greener(KEY, 1, 0.25, 2.0)], [ZipfText(1_000)], trials=400, seed=1)
    assert not found.holds
    assert found.ks_p_min < 0.01


def test_the_same_seed_gives_the_same_table() -> None:
    runs = [calibrate([Gumbel(KEY, 1)], [LoopingText(50)], trials=100, seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_own_text_is_taken_in_pieces() -> None:
    source = TokenTexts.of([np.arange(150), np.arange(500, 560)])
    drawn = OwnText(source, texts=3, tokens=50).draw(np.random.default_rng(2))
    assert (drawn.texts, drawn.tokens) == (3, 150)
    assert set(drawn.ids_T.tolist()) <= set(source.ids_T.tolist())
    assert calibrate([Gumbel(KEY, 1)], [OwnText(source)], trials=200, seed=3).holds
    with pytest.raises(PotstillError, match="give more text"):
        OwnText(source, tokens=1_000)


def test_drawn_texts_are_what_they_are_called() -> None:
    rng = np.random.default_rng(4)
    for kind in kinds_of(300):
        drawn = kind.draw(rng)
        assert drawn.tokens == len(drawn.ids_T)
        assert int(drawn.ids_T.max()) < 300
    shared = BoilerplateText(40_000).draw(rng).ids_T.reshape(20, 80)
    assert (shared[:, :40] == shared[0, :40]).all()
    assert len(np.unique(shared[:, 40:])) > 700
    loops = LoopingText(40_000).draw(rng).ids_T
    assert len(np.unique(loops)) < 150


def test_too_few_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="100 trials"):
        calibrate([Gumbel(KEY, 1)], kinds_of(50), trials=10, seed=1)
