"""What parts the columns of a .csv where it is no comma, told from its header."""

from __future__ import annotations

import csv
import io

from potstill.errors import PotstillError

# In words, for notes and errors.
SIGNS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def sign_between(head: str, what: str) -> str:
    """Return what parts the columns: commas, or else what alone can.

    `head` begins with the header, and `what` names the file in errors. Raises PotstillError where
    several signs can.
    """
    if _parts(head, ","):
        return ","
    found = [sign for sign in SIGNS if _parts(head, sign)]
    if len(found) > 1:
        words = " and ".join(SIGNS[sign] for sign in found)
        raise PotstillError(
            f"{what} has {words} in its header and no commas; save it with commas between its "
            "columns, or as .jsonl"
        )
    return found[0] if found else ","


def _parts(head: str, sign: str) -> bool:
    """Tell whether a header falls into columns at a sign; at an odd one each has a name."""
    rows = csv.reader(io.StringIO(head, newline=""), delimiter=sign)
    try:
        cells = next((row for row in rows if row), [])
    except csv.Error:
        return False
    return len(cells) > 1 and (sign == "," or all(cell.strip() for cell in cells))
