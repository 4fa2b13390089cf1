"""The settings of a trace as a page: docs/reference/trace.md, written by `make docs`."""

from __future__ import annotations

from potstill.recipe.docs import markdown
from potstill.recipe.trace import TraceConfig

_HEAD = """# Trace reference

<!-- Made by `make docs` from src/potstill/recipe/trace.py; edit the descriptions there. -->

`potstill trace plan trace.yaml` reads one YAML file that holds every choice of one trace. It is
read as a recipe is: unknown keys are refused with their line, numbers are decimal, and text stays
as it is written. [How to trace](../how-to/trace.md) goes through it from nothing to a verdict.
"""


def page() -> str:
    """Return the reference page."""
    return markdown(_HEAD, TraceConfig)


if __name__ == "__main__":
    print(page(), end="")
