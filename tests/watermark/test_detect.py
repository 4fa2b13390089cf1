"""Detection: exact by enumeration, each input once over all texts, and refusals."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_keys import key_of
from scipy import stats
from siphash_oracle import message_of, siphash

from potstill.errors import PotstillError
from potstill.watermark.detect import Looking, detect
from potstill.watermark.schemes import GreenList, Gumbel, Scheme
from potstill.watermark.token_texts import TokenTexts

KEY = key_of("detect")
TEXTS = st.lists(st.lists(st.integers(0, 5), max_size=12), min_size=1, max_size=5)


def scored_by_hand(scheme: Scheme, rows: set[tuple[int, ...]]) -> float:
    key, total = KEY.subkey(scheme.name), 0.0
    for row in rows:
        u = (siphash(message_of(list(row)), key) >> 11) * 2.0**-53
        total += -math.log1p(-u) if isinstance(scheme, Gumbel) else float(u < 0.25)
    return total


@given(texts=TEXTS, shown=TEXTS, window=st.integers(1, 3), gumbel=st.booleans())
def test_every_input_counts_once_over_all_texts(
    texts: list[list[int]], shown: list[list[int]], window: int, gumbel: bool
) -> None:
    scheme = Gumbel(KEY, window) if gumbel else GreenList(KEY, window, 0.25, 2.0)
    rows = [tuple(t[i - window : i + 1]) for t in texts for i in range(window, len(t))]
    known = {tuple(t[i : i + window]) for t in shown for i in range(len(t) - window + 1)}
    if not rows:
        with pytest.raises(PotstillError):
            detect(scheme, texts)
        return
    for against in (None, TokenTexts.of(shown)):
        found = detect(scheme, texts, shown=against)
        left = [row for row in rows if against is None or row[:-1] not in known]
        assert found.windows == len(rows)
        assert found.left_out == len(rows) - len(left)
        assert found.scored == len(set(left))
        assert found.total == pytest.approx(scored_by_hand(scheme, set(left)), rel=1e-12)
        assert found.p == pytest.approx(float(scheme.law.p(found.total, found.scored)))
        assert 0 <= found.randomised_p <= 1


def test_the_p_is_the_share_of_keys_that_do_as_well() -> None:
    """Over many keys and one text of many repeats: exact, where counting repeats is not."""
    text = [1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 1, 2, 4] * 4
    plain = GreenList(KEY, 1, 0.5, 2.0)
    found = [detect(plain.decoy(i), [text]) for i in range(2_000)]
    assert {d.scored for d in found} == {6}
    for level in (0.5**6, 7 * 0.5**6, 22 * 0.5**6):
        hits = sum(d.p <= level * (1 + 1e-9) for d in found)
        assert stats.binomtest(hits, len(found), level).pvalue > 1e-4
    assert stats.kstest([d.randomised_p for d in found], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("scheme", [GreenList(KEY, 2, 0.5, 2.0), Gumbel(KEY, 2)], ids=["g", "u"])
def test_each_text_alone_is_what_it_is_without_the_others(scheme: Scheme) -> None:
    rng = np.random.default_rng(5)
    texts = [rng.integers(0, 6, n) for n in (40, 3, 0, 2, 90)]
    found = detect(scheme, texts, looking=Looking(each=True)).each
    assert found is not None
    assert len(found) == len(texts)
    for text, one in zip(texts, found, strict=True):
        if len(text) > 2:
            alone = detect(scheme, [text])
            assert (one.scored, one.total) == (alone.scored, pytest.approx(alone.total))
            assert one.p == pytest.approx(alone.p)
        else:
            assert (one.scored, one.total, one.p) == (0, 0, 1)
        assert one.adjusted_p >= one.p


def marked(scheme: Scheme, count: int, vocabulary: int, seed: int) -> list[int]:
    """A text of the best of four equally likely tokens a position."""
    rng = np.random.default_rng(seed)
    text = rng.integers(0, vocabulary, scheme.window).tolist()
    for _ in range(count):
        options = rng.integers(0, vocabulary, 4)
        window = [np.full(4, i) for i in text[len(text) - scheme.window :]]
        scores = scheme.scores(scheme.inputs(window, options))
        text.append(int(options[int(np.argmax(scores))]))
    return text


@pytest.mark.parametrize("scheme", [GreenList(KEY, 2, 0.25, 2.0), Gumbel(KEY, 2)], ids=["g", "u"])
def test_a_mark_is_found_with_its_key_and_with_no_other(scheme: Scheme) -> None:
    text = marked(scheme, 300, 5_000, 1)
    found = detect(scheme, [text])
    assert found.p < 1e-20
    assert found.log10_p == pytest.approx(math.log10(found.p))
    assert found.mean > found.null_mean
    assert detect(scheme.decoy(0), [text]).p > 1e-3
    assert found.needed.observed is not None
    assert 10 < found.needed.observed < 300
    assert found.needed.p == 1e-6


@pytest.mark.parametrize("scheme", [GreenList(KEY, 2, 0.5, 2.0), Gumbel(KEY, 2)], ids=["g", "u"])
def test_unmarked_text_among_it_lowers_the_power_and_not_the_validity(scheme: Scheme) -> None:
    rng = np.random.default_rng(6)
    human = [rng.integers(0, 5_000, 400) for _ in range(5)]
    text = marked(scheme, 400, 5_000, 2)
    alone, mixed = detect(scheme, [text]), detect(scheme, [*human, text])
    assert alone.p < mixed.p < 1e-6
    assert mixed.needed.observed is not None
    assert alone.needed.observed is not None
    assert mixed.needed.observed > alone.needed.observed
    assert detect(scheme, human).p > 1e-3


def test_a_p_too_small_for_a_number_keeps_its_logarithm() -> None:
    scheme = GreenList(KEY, 1, 0.1, 2.0)
    tokens = np.arange(40_000, dtype=np.uint32)
    green = tokens[scheme.green((np.zeros_like(tokens), tokens))]
    found = detect(scheme, [[0, int(token)] for token in green])
    assert found.p == 0
    assert found.log10_p == pytest.approx(-len(green), rel=1e-6)


def test_decoys_look_uniform_and_are_at_least_a_thousand() -> None:
    rng = np.random.default_rng(7)
    texts = [rng.zipf(1.3, 300) % 4_000 for _ in range(10)]
    found = detect(GreenList(KEY, 1, 0.25, 2.0), texts, looking=Looking(decoys=1_000)).decoys
    assert found is not None
    assert found.keys == 1_000
    assert found.ks_p > 1e-3
    assert 0.02 < found.share_at_05 < 0.09
    with pytest.raises(ValueError, match="1,000"):
        detect(GreenList(KEY, 1, 0.25, 2.0), texts, looking=Looking(decoys=10))


def test_the_result_is_json_without_secrets() -> None:
    scheme = Gumbel(KEY, 1)
    found = detect(scheme, [[1, 2, 3, 4]], looking=Looking(each=True, decoys=1_000))
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert KEY.secret.hex() not in text
    assert json.loads(text)["key_id"] == KEY.key_id
    assert json.loads(text)["scheme"] == "gumbel"


def test_the_same_texts_give_the_same_result() -> None:
    texts = [np.random.default_rng(8).integers(0, 50, 200)]
    assert detect(Gumbel(KEY, 2), texts) == detect(Gumbel(KEY, 2), TokenTexts.of(texts))


@pytest.mark.parametrize("texts", [[], [[]], [[], []]])
def test_no_text_is_refused(texts: list[list[int]]) -> None:
    with pytest.raises(PotstillError, match="there is no text to look for marks in"):
        detect(Gumbel(KEY, 2), texts)


@pytest.mark.parametrize("texts", [[[1]], [[1, 2], [3, 4]]])
def test_texts_shorter_than_a_window_are_refused(texts: list[list[int]]) -> None:
    with pytest.raises(PotstillError, match="window of 2 tokens"):
        detect(Gumbel(KEY, 2), texts)


def test_texts_whose_every_window_was_shown_say_nothing() -> None:
    found = detect(Gumbel(KEY, 2), [[1, 2, 3]], shown=TokenTexts.of([[9, 1, 2]]))
    assert (found.scored, found.left_out, found.p, found.log10_p) == (0, 1, 1, 0)
    assert found.needed.observed is None
    assert found.mean == found.null_mean


def test_finding_marks_needs_no_torch() -> None:
    code = (
        "import sys, potstill.watermark.detect, potstill.watermark.keys; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
