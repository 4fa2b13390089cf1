"""What the command's words are in a call."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillError
from potstill.runs.in_python import in_python, said_in_python


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("start over with --fresh", "start over with fresh=True"),
        ("choose another directory with --out", "choose another directory with out"),
        ("run the same command again", "run the same call again"),
        ("`potstill collect --redo` asks them again", "`potstill collect --redo` asks them again"),
        ("--redo; `a --out b`; --redo", "redo=True; `a --out b`; redo=True"),
    ],
)
def test_options_are_arguments_and_commands_stay(said: str, meant: str) -> None:
    assert in_python(said) == meant
    with pytest.raises(PotstillError) as caught, said_in_python():
        raise PotstillError(said)
    assert str(caught.value) == meant
