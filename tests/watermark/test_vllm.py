"""vLLM's marks as schemes: their files, what is tested, and marked text that is found."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vllm_marking import generated, gumbel, padded_windows, sbw

from potstill.errors import PotstillError
from potstill.stats.exact import BinomialLaw, GammaLaw
from potstill.watermark.schemes import Scheme
from potstill.watermark.vllm import (
    NAMES,
    VllmConfig,
    new_config,
    read_config,
    refuse_unconfirmed,
    schemes_of,
    write_config,
)
from potstill.watermark.vllm_prf import derived_key

LENGTH = 80


def key_file(folder: Path, content: str) -> Path:
    path = folder / "key.json"
    path.write_text(content)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("scheme", NAMES)
def test_a_new_key_file_is_what_the_server_takes(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "key.json"
    config = new_config(scheme)
    write_config(path, config)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"algorithm": NAMES[scheme], "key": config.key}
    found = read_config(path, scheme)
    assert (found.config, found.warning) == (config, None)
    assert str(config.key) not in repr(config) + repr(schemes_of(config))
    with pytest.raises(PotstillError, match="there already"):
        write_config(path, config)


def test_a_file_that_others_read_is_warned_of(tmp_path: Path) -> None:
    path = key_file(tmp_path, '{"key": 42}')
    path.chmod(0o644)
    assert "chmod 600" in (read_config(path, "vllm-gumbel").warning or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("42 and more", "holds no JSON"),
        ("42", "states no key"),
        ('{"algorithm": "gumbel"}', "states no key"),
        ('{"key": "18446744073709551615"}', "^key in the key file"),
        ('{"key": 18446744073709551616}', "^key in the key file"),
        ('{"key": true}', "^key in the key file"),
        ('{"key": 4711, "context_width": 0}', "^context_width in the key file"),
        ('{"key": 4711, "prf": "hmac_sha256"}', "^prf in the key file"),
        ('{"key": 4711, "algorithm": "synthid_text"}', "^algorithm in the key file"),
        ('{"key": 4711, "algorithm": "sbw", "sbw_scheme": "lefthash"}', "^sbw_scheme in the"),
        ('{"key": 4711, "depth": 3}', "^depth in the key file"),
        ('{"key": 4711, "algorithm": "dual_key_gumbel"}', "give --scheme vllm-dual-key"),
    ],
)
def test_a_wrong_file_is_one_sentence_without_the_key(
    tmp_path: Path, content: str, said: str
) -> None:
    with pytest.raises(PotstillError, match=said) as caught:
        read_config(key_file(tmp_path, content), "vllm-gumbel")
    assert "4711" not in str(caught.value)
    assert "1844" not in str(caught.value)


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="the key file"):
        read_config(tmp_path / "none.json", "vllm-gumbel")


@pytest.mark.parametrize("scheme", ["sglang", "tensorrt-llm"])
def test_unconfirmed_marks_are_refused_by_name(scheme: str) -> None:
    with pytest.raises(PotstillError, match="are not scored"):
        refuse_unconfirmed(scheme)
    refuse_unconfirmed("vllm-gumbel")


def test_what_is_tested_under_which_law() -> None:
    (one,) = schemes_of(VllmConfig(key=42))
    assert (one.name, one.window, one.law) == ("vllm-gumbel", 4, GammaLaw(1))
    three = schemes_of(VllmConfig(key=42, algorithm="dual_key_gumbel"))
    assert [scheme.law for scheme in three] == [GammaLaw(1), GammaLaw(1), GammaLaw(2)]
    assert len({scheme.key_id for scheme in three}) == 3
    (green,) = schemes_of(VllmConfig(key=42, algorithm="sbw", sbw_gamma=0.25))
    assert green.law == BinomialLaw(536870911 / 2**31)


@pytest.mark.parametrize("algorithm", NAMES.values())
def test_decoys_and_expectations(algorithm: Any) -> None:
    for scheme in schemes_of(VllmConfig(key=42, algorithm=algorithm)):
        assert scheme.decoy(1) == scheme.decoy(1) != scheme.decoy(2)
        assert scheme.decoy(1).key_id != scheme.key_id
        low, high = (scheme.expected(entropy) for entropy in (0.0, 2.0))
        assert low == pytest.approx(scheme.law.mean, rel=1e-3)
        assert high > low


def test_windows_that_share_a_seed_are_one_input_of_sbw() -> None:
    """The oldest token of a window does not enter it."""
    (scheme,) = schemes_of(VllmConfig(key=42, algorithm="sbw"))
    windows_KN = [np.array(ids) for ids in ([1, 9], [2, 2], [3, 3], [4, 4])]
    seeds_N, _ = scheme.inputs(windows_KN, np.array([5, 5]))
    assert seeds_N[0] == seeds_N[1]


def logits(seed: int) -> Any:
    """A model of about three nats over 200 tokens that heeds nothing but the position."""
    table = np.random.default_rng(seed).normal(0, 2, (LENGTH, 200)).astype(np.float32)
    return lambda position: table[position]


def p_of(scheme: Scheme, tokens: list[int]) -> float:
    windows = np.array(padded_windows(tokens, scheme.window))
    scores = scheme.scores(scheme.inputs(list(windows.T), np.array(tokens)))
    return float(scheme.law.p(scores.sum(), len(scores)))


def test_marked_text_is_found_under_its_key_alone() -> None:
    (one,) = schemes_of(VllmConfig(key=7))
    tokens = generated(gumbel, 7, 4, logits(1), LENGTH)
    assert p_of(one, tokens) < 1e-10
    assert p_of(one.decoy(1), tokens) > 1e-4
    (green,) = schemes_of(VllmConfig(key=7, algorithm="sbw"))
    tokens = generated(sbw, 7, 4, logits(2), LENGTH)
    assert p_of(green, tokens) < 1e-6
    assert p_of(green.decoy(1), tokens) > 1e-4


def test_either_key_of_dual_key_is_found_by_its_own_test() -> None:
    tests = schemes_of(VllmConfig(key=7, algorithm="dual_key_gumbel"))
    for own, domain in ((0, b"key_a"), (1, b"key_b")):
        tokens = generated(gumbel, derived_key(7, domain), 4, logits(3 + own), LENGTH)  # type: ignore[arg-type]
        p = [p_of(scheme, tokens) for scheme in tests]
        assert p[own] < 1e-10
        assert p[1 - own] > 1e-4
        assert p[own] < p[2] < 1e-4
