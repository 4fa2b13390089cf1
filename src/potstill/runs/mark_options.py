"""Which scheme a mark has, and the options it takes: checked alike wherever they are stated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import TypeVar

from potstill.errors import PotstillError
from potstill.watermark.vllm import NAMES, refuse_unconfirmed

OWN = ("green", "gumbel")
Value = TypeVar("Value", str, int, float)


@dataclass(frozen=True)
class StatedOptions:
    """The options of a mark that were stated; what is None was not."""

    epoch: str | None = None
    window: int | None = None
    gamma: float | None = None
    delta: float | None = None


def check_scheme(name: str) -> None:
    """Raise PotstillError for a scheme that is not scored, with the one that may be meant."""
    refuse_unconfirmed(name)
    if name in (*OWN, *NAMES):
        return
    close = get_close_matches(name, (*OWN, *NAMES), 1)
    meant = f"did you mean {close[0]}?" if close else f"there are {scheme_names()}"
    raise PotstillError(f"no scheme is named {name}; {meant}")


def scheme_names() -> str:
    """Return the schemes that there are, in words."""
    return ", ".join((*OWN, *NAMES))


def refuse_stray(scheme: str | None, options: StatedOptions) -> None:
    """Raise PotstillError for an option that is stated and that a scheme has no use for."""
    stated = [name for name, value in asdict(options).items() if value is not None]
    if scheme in NAMES and stated:
        raise PotstillError(
            f"--{stated[0]} is not for {scheme}, of which vLLM's own configuration says all there "
            "is to say; leave it out"
        )
    if scheme != "green" and (options.gamma is not None or options.delta is not None):
        raise PotstillError("--gamma and --delta are for --scheme green; leave them out")


def agreed(stated: Value | None, recorded: Value | None, option: str) -> Value | None:
    """Return what an option and the record beside a key say of one thing; None where neither does.

    Raises PotstillError where the two disagree.
    """
    if stated is not None and recorded is not None and stated != recorded:
        raise PotstillError(
            f"--{option} is {stated}, and the record beside the key says {recorded}; leave the "
            "option out, or correct the record"
        )
    return recorded if stated is None else stated
