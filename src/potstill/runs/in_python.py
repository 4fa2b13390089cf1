"""Sentences that speak of the command's options, in the words of a call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from potstill.errors import PotstillError

_WORDS = {
    "--fresh": "fresh=True",
    "--redo": "redo=True",
    "--out": "out",
    "the same command": "the same call",
}
_SPOKEN = re.compile("|".join(map(re.escape, _WORDS)))


def in_python(text: str) -> str:
    """Return a sentence with the arguments of `distill` in place of options.

    What stands between backticks is a command, and stays one.
    """
    parts = text.split("`")
    parts[::2] = [_SPOKEN.sub(lambda found: _WORDS[found[0]], part) for part in parts[::2]]
    return "`".join(parts)


@contextmanager
def said_in_python() -> Iterator[None]:
    """Have what a block refuses speak of arguments."""
    try:
        yield
    except PotstillError as error:
        error.args = (in_python(str(error)),)
        raise
