"""An exchange store's counts and sizes, read and printed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from potstill.cli.run_view import console_for_output, find
from potstill.exchanges.store import ExchangeStore


def read(path: Path) -> dict[str, Any]:
    """Return a store's counts and, for each form of targets, its positions and bytes.

    Raises PotstillError where there is no run, or where a shard is damaged.
    """
    store = ExchangeStore(find(path))
    try:
        targets = [
            {
                **asdict(usage),
                "data_bytes_per_position": usage.data_bytes_per_position,
                "stored_bytes_per_position": usage.stored_bytes_per_position,
            }
            for usage in store.usage()
        ]
        return {**store.stats(), "targets": targets}
    finally:
        store.close()


def print_stats(found: dict[str, Any]) -> None:
    """Print what `read` returned."""
    console = console_for_output()
    splits = ", ".join(f"{count} {name}" for name, count in sorted(found["splits"].items()))
    console.print(
        f"{found['exchanges']} exchanges ({splits or 'none'}), "
        f"{found['response_tokens']} response tokens, "
        f"{found['bytes'] / 1e6:.1f} MB in {found['shards']} shards"
        + ("" if found["compacted"] else " and a journal")
    )
    if not found["targets"]:
        console.print("no targets are stored: training asks the teacher")
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
