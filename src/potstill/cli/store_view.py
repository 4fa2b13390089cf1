"""An exchange store's counts and sizes, read and printed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from potstill.cli.run_view import console_for_output, find
from potstill.exchanges.store import ExchangeStore
from potstill.recipe import Recipe
from potstill.work.access import Access
from potstill.work.rundir import RunDir

_WITHOUT_TARGETS = {
    "teacher": "training asks the teacher",
    "text": "training is on the answers' text, and asks nobody",
    "server": "no answer has the server's likeliest tokens yet, and what has none is learnt by its "
    "text or left out",
}


def read(path: Path) -> dict[str, Any]:
    """Return a store's counts and, for each form of targets, its positions and bytes.

    `learnt_from` says what training goes by where no targets are stored: `teacher`, `server` or
    `text`. Raises PotstillError where there is no run, or where a shard is damaged.
    """
    root = find(path)
    recipe = RunDir.reading(root).recipe
    store = ExchangeStore(root)
    try:
        targets = [
            {
                **asdict(usage),
                "data_bytes_per_position": usage.data_bytes_per_position,
                "stored_bytes_per_position": usage.stored_bytes_per_position,
            }
            for usage in store.usage()
        ]
        return {**store.stats(), "targets": targets, "learnt_from": _learnt_from(recipe)}
    finally:
        store.close()


def _learnt_from(recipe: Recipe) -> str:
    access = Access.of(recipe)
    if access.target_server is not None:
        return "server"
    by_text = access.weights is None or recipe.train.cross_entropy == 1
    return "text" if by_text else "teacher"


def _tokens(found: dict[str, Any]) -> str:
    """Return how long the responses are in all, as far as that is known."""
    unknown = found["text_alone"]
    if found["response_tokens"] is None:
        return "responses as text alone (their tokens are not counted)"
    more = f" (and those of {unknown} more, which came as text alone)" if unknown else ""
    return f"{found['response_tokens']} response tokens{more}"


def print_stats(found: dict[str, Any]) -> None:
    """Print what `read` returned."""
    console = console_for_output()
    splits = ", ".join(f"{count} {name}" for name, count in sorted(found["splits"].items()))
    console.print(
        f"{found['exchanges']} exchanges ({splits or 'none'}), "
        f"{_tokens(found)}, "
        f"{found['bytes'] / 1e6:.1f} MB in {found['shards']} shards"
        + ("" if found["compacted"] else " and a journal")
    )
    if not found["targets"]:
        console.print(f"no targets are stored: {_WITHOUT_TARGETS[found['learnt_from']]}")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("targets")
    for name in ("exchanges", "positions", "bytes a position", "on disk"):
        table.add_column(name, justify="right")
    for usage in found["targets"]:
        table.add_row(
            usage["spec"],
            str(usage["exchanges"]),
            str(usage["positions"]),
            f"{usage['data_bytes_per_position']:.1f}",
            f"{usage['stored_bytes_per_position']:.1f}",
        )
    console.print(table)
