"""The marks that vLLM writes, as schemes that potstill's detection scores.

As vLLM 0.33.0 documents its generator (`WatermarkConfig`, "Text watermarking"): `gumbel` or
`dual_key_gumbel`, windows of 4 generated tokens that never reach into the prompt (-1 stands for a
token that was not generated yet), and a window that occurred before in the answer sampled unmarked.
`sbw` is in no release of vLLM; it is here as pull request 56859 has it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.special import digamma

from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.stats.exact import BinomialLaw, GammaLaw, Law
from potstill.watermark.keys import EpochKey, readable_by_others, write_secret
from potstill.watermark.prf import Columns
from potstill.watermark.schemes import GreenList, Ids, Scheme, Scores, falling_chances
from potstill.watermark.vllm_prf import (
    derived_key,
    gumbel_scores,
    sbw_green,
    sbw_rate,
    sbw_seeds,
    token_words,
    window_state,
)

Algorithm = Literal["gumbel", "dual_key_gumbel", "sbw"]
NAMES: Mapping[str, Algorithm] = {
    "vllm-gumbel": "gumbel",
    "vllm-dual-key": "dual_key_gumbel",
    "vllm-sbw": "sbw",
}
"""What `--scheme` calls each, and vLLM's name of it."""

UNRELEASED = (
    "vllm-sbw is as vLLM's pull request 56859 has it: no release up to 0.33.0 writes it, and what "
    "is released may differ"
)
_UNCONFIRMED = {
    "sglang": (
        "the marks of SGLang are not scored: its windows reach into the prompt and are told apart "
        "by 32-bit hashes, and potstill's way of scoring was not checked on them; use its own "
        "detector"
    ),
    "tensorrt-llm": (
        "the marks of TensorRT-LLM are not scored: its documentation calls them a prototype whose "
        "recipe may change, and potstill's way of scoring was not checked on them; use its own "
        "detector"
    ),
}


class VllmConfig(BaseModel):
    """What `vllm serve --watermark-config` was given, under the names that vLLM has for it.

    It is the key file of these marks: the same JSON for the server and for detection.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[int, Field(ge=0, lt=2**64, strict=True, repr=False)]
    algorithm: Algorithm = "gumbel"
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    context_width: Annotated[int, Field(ge=1, le=16)] = 4
    deduplicate_contexts: Literal["none", "single_turn", "all"] = "single_turn"
    deduplicate_contexts_max_history: Annotated[int, Field(ge=1)] | None = 8192
    prf: Literal["philox"] = "philox"
    allow_target_only_watermarking: bool = False
    # The other one, `lefthash`, has a generator and a detector that do not agree on the branch.
    sbw_scheme: Literal["selfhash"] = "selfhash"
    sbw_gamma: Annotated[float, Field(gt=0, lt=1)] = 0.5
    sbw_delta: Annotated[float, Field(gt=0)] = 2.0


@dataclass(frozen=True)
class VllmKeyFile:
    """What a key file of vLLM's holds; `warning` says in a sentence that others can read it."""

    config: VllmConfig
    warning: str | None = None


def refuse_unconfirmed(scheme: str) -> None:
    """Raise `PotstillError` for the marks of servers that are known and not scored."""
    if (why := _UNCONFIRMED.get(scheme)) is not None:
        raise PotstillError(why)


def new_config(scheme: str) -> VllmConfig:
    """Return a configuration with a key of the system's own randomness."""
    return VllmConfig(algorithm=NAMES[scheme], key=secrets.randbits(64))


def write_config(path: Path, config: VllmConfig) -> None:
    """Write what `--watermark-config` takes into a new file that its owner alone can read.

    Raises `PotstillError` where there is a file already.
    """
    stated = config.model_dump(include={"algorithm", "key"})
    write_secret(path, json.dumps(stated, separators=(",", ":")))


def read_config(path: Path, scheme: str) -> VllmKeyFile:
    """Return the configuration that a file holds, of the scheme that is asked for.

    Raises `PotstillError` where the file holds no such JSON, or that of another algorithm.
    """
    if (wrong := no_file(path)) is not None:
        raise PotstillError(f"the key file {path} {wrong}; {_wanted(scheme)}")
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        raise PotstillError(f"the key file {path} holds no JSON; {_wanted(scheme)}") from None
    if not isinstance(content, dict) or "key" not in content:
        raise PotstillError(f"the key file {path} states no key; {_wanted(scheme)}")
    try:
        config = VllmConfig.model_validate(content)
    except ValidationError as error:
        # The value may be the key: only where it stands is said.
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise PotstillError(
            f"{field} in the key file {path} is not what vLLM 0.33 takes there; {_wanted(scheme)}"
        ) from None
    if config.algorithm != NAMES[scheme]:
        raise PotstillError(
            f"the key file {path} is for the algorithm {config.algorithm}, not for {scheme}; give "
            f"--scheme {_name_of(config.algorithm)}, or another key file"
        )
    return VllmKeyFile(config, readable_by_others(path))


def scheme_of_file(path: Path) -> str | None:
    """Return the scheme of a key file that holds vLLM's JSON; None for any other file."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    algorithm = content.get("algorithm", "gumbel")
    return next((name for name, known in NAMES.items() if known == algorithm), None)


def schemes_of(config: VllmConfig) -> tuple[Scheme, ...]:
    """Return what is tested, each for itself; p-values of several are put together by Bonferroni.

    Which of its two keys `dual_key_gumbel` drew a token with is not known afterwards: at `alpha` in
    ordinary decoding, by the draft model's luck in speculative decoding. So the first key, the
    second, and both together are three tests.
    """
    if config.algorithm == "sbw":
        return (Sbw(config.key, config.context_width, config.sbw_gamma, config.sbw_delta),)
    if config.algorithm == "gumbel":
        return (VllmGumbel("vllm-gumbel", (config.key,), config.context_width),)
    first, second = derived_key(config.key, b"key_a"), derived_key(config.key, b"key_b")
    shares = (
        ("vllm-dual-key-a", (first,), 1 - config.alpha),
        ("vllm-dual-key-b", (second,), config.alpha),
    )
    both = VllmGumbel("vllm-dual-key-both", (first, second), config.context_width)
    return (
        *(VllmGumbel(name, keys, config.context_width, share) for name, keys, share in shares),
        both,
    )


@dataclass(frozen=True)
class VllmGumbel:
    """Gumbel marks under one 64-bit key, or the scores of two keys added up.

    `share` of the marked tokens were drawn with these keys.
    """

    name: str
    keys: tuple[int, ...] = field(repr=False)
    window: int
    share: float = 1.0

    @property
    def key_id(self) -> str:
        return _key_id(*self.keys)

    @property
    def law(self) -> Law:
        return GammaLaw(len(self.keys))

    def parameters(self) -> dict[str, float]:
        return {"window": self.window}

    def inputs(self, windows_KN: Sequence[Ids], tokens_N: Ids) -> Columns:
        # One input of every key at once. The window itself tells more inputs apart than what
        # Philox makes of it only beyond four tokens, where 128 bits come together by a chance
        # that nobody meets.
        return (*windows_KN, tokens_N)

    def scores(self, inputs: Columns) -> Scores:
        *windows_KN, tokens_N = inputs
        each = (
            gumbel_scores(token_words(key, window_state(key, windows_KN), tokens_N))
            for key in self.keys
        )
        return np.asarray(sum(each), dtype=np.float64)

    def expected(self, entropy: float) -> float:
        p_V = falling_chances(entropy)
        drawn = float(np.sum(p_V * (digamma(1 / p_V + 1) - digamma(1.0))))
        return self.share * drawn + len(self.keys) - self.share

    def decoy(self, number: int) -> Self:
        return replace(self, keys=tuple(_decoy_key(number, i) for i in range(len(self.keys))))


@dataclass(frozen=True)
class Sbw:
    """SBW's selfhash: a bit for each (seed, token), the seed made of key, window and token."""

    key: int = field(repr=False)
    window: int
    gamma: float
    delta: float
    decoy_salt: int = 0

    @property
    def name(self) -> str:
        return "vllm-sbw"

    @property
    def key_id(self) -> str:
        return _key_id(self.key, *([self.decoy_salt] if self.decoy_salt else []))

    @property
    def law(self) -> Law:
        return BinomialLaw(sbw_rate(self.gamma))

    def parameters(self) -> dict[str, float]:
        return {"window": self.window, "gamma": self.gamma, "delta": self.delta}

    def inputs(self, windows_KN: Sequence[Ids], tokens_N: Ids) -> Columns:
        return sbw_seeds(self.key, windows_KN, tokens_N), tokens_N

    def scores(self, inputs: Columns) -> Scores:
        seeds_N = inputs[0].astype(np.uint64) ^ np.uint64(self.decoy_salt)
        return sbw_green(seeds_N, inputs[1], self.gamma).astype(np.float64)

    def expected(self, entropy: float) -> float:
        nobody = EpochKey("none", bytes(32))
        return GreenList(nobody, self.window, self.gamma, self.delta).expected(entropy)

    def decoy(self, number: int) -> Self:
        # Which rows are one input is decided by the key. A decoy keeps that, and draws with other
        # seeds.
        return replace(self, decoy_salt=_decoy_key(number, 0))


def _key_id(*keys: int) -> str:
    """Return 32 bits of a digest: of 64 bits a whole one could be searched for the key."""
    content = b"".join(key.to_bytes(8, "big") for key in keys)
    return f"blake3:{blake3(b'potstill watermark philox key' + content).hexdigest(length=4)}"


def _decoy_key(number: int, place: int) -> int:
    text = f"potstill watermark philox decoy {number} {place}"
    return int.from_bytes(blake3(text.encode()).digest(length=8), "big")


def _name_of(algorithm: Algorithm) -> str:
    return next(name for name, known in NAMES.items() if known == algorithm)


def _wanted(scheme: str) -> str:
    return (
        f'give the JSON that the server was started with, {{"algorithm": "{NAMES[scheme]}", '
        '"key": ...}, in a file that you alone can read'
    )
