"""How well minutes are kept, and how fast answers are written and a step is, for the pages.

From minutes.json, collect.json, train.json and int8.json alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from result_files import NOT_YET, read_results

PRECISIONS = ("fp32", "bf16")
# Sides of benchmarks/collect.py, as the page calls them.
SIDES = {
    "potstill": "potstill",
    "before": "potstill at commit 17f08f5",
    "generate": "transformers' `generate`, the best batch of 32, 64 and 128",
    "continuous": "transformers' continuous batching",
    "llama_cpp": "llama.cpp's server, f16, the better of 16 and 64 slots",
    "products": "nothing but the products of 128 rows, by torch's own",
    "chosen": "the same, by the product that decoding takes",
}
# Claims of train.json against an earlier commit or bare products: title, name.
STEPS = (
    ("Tokens/s from the store, against commit 17f08f5", "tokens_per_s_from_store_vs_before"),
    ("with 11 of 26 blocks frozen, 3 epochs, a head of its own", "tokens_per_s_frozen_vs_before"),
    ("the same, head and embedding one matrix", "tokens_per_s_frozen_tied_vs_before"),
    ("A step with the teacher in memory, over its bare products", "step_vs_matmul"),
)


def minutes_block(results: Path) -> str:
    """Return how well minutes were kept, run by run, and what each number of them gave."""
    found = read_results(results, "minutes")
    if found is None:
        return NOT_YET
    claims = {name: claim["value"] for name, claim in found["claims"].items()}
    lines = [
        f"The demo with `--minutes` by `make bench-minutes`, up to {found['date'][:10]} "
        f"({found['machine']['cpu']}, two cores, {found['machine']['compute_dtype']}, commit "
        f"{found['commit']}), whole processes by the wall clock:",
        "",
        "| Minutes | taken | foretold | held-out prompts | training steps | KL | agreement |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(_minutes_line(row) for row in _by_minutes(found["rows"])),
        "",
        f"The most by which minutes were exceeded is {claims['overshoot_max']:.1%}, the least use "
        f"of them {claims['used_min']:.0%}; a forecast was off by "
        f"{claims['estimate_error_max']:.0%} at most.",
    ]
    return "\n".join(lines)


def _by_minutes(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["minutes"] or 0.0, row["busy"]))


def _minutes_line(row: dict[str, Any]) -> str:
    name = f"{row['minutes']:g}" if row["minutes"] else "not said"
    busy = ", another process on a core" if row["busy"] else ""
    share = f" ({row['used']:.0%})" if row["used"] else ""
    return (
        f"| {name}{busy} | {row['seconds'] / 60:.2f}{share} | {row['estimate'] / 60:.2f} | "
        f"{row['held_out']} | {row['steps']} | {row['kl']['value']:.3f} | "
        f"{row['top1_agreement']['value']:.1%} |"
    )


def speed_block(results: Path) -> str:
    """Return who answers prompts how fast, and what a training step takes."""
    return "\n\n".join([_answering(results), _steps(results), _int8(results)])


def _answering(results: Path) -> str:
    found = read_results(results, "collect")
    if found is None or not any("part" in row for row in found["rows"]):
        return NOT_YET
    cells = _rates(found["rows"])
    wholes = [
        f"{size}:{precision}"
        for size in sorted({int(row["part"].split(":")[0]) for row in found["rows"]})
        for precision in PRECISIONS
    ]
    lines = [
        f"Tokens of answers a second, the demo's prompts and teacher (`make bench-collect`, "
        f"{found['date'][:10]}, {found['machine']['cpu']}, two cores, commit {found['commit']}):",
        "",
        "| | " + " | ".join("{} prompts, {}".format(*w.split(":")) for w in wholes) + " |",
        "| --- |" + " ---: |" * len(wholes),
    ]
    for side, title in SIDES.items():
        told = [cells.get((whole, side)) for whole in wholes]
        if any(told):
            spelt = " | ".join(f"{rate:,.0f}" if rate else "-" for rate in told)
            lines.append(f"| {title} | {spelt} |")
    return "\n".join(lines)


def _rates(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the median tokens a second by (prompts and precision, side)."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        whole, _, side = row["part"].rpartition(":")
        found.setdefault((whole, side), []).append(row["tokens_per_s"])
        if "tokens_per_s_chosen" in row:
            found.setdefault((whole, "chosen"), []).append(row["tokens_per_s_chosen"])
    return {key: median(rates) for key, rates in found.items()}


def _steps(results: Path) -> str:
    found = read_results(results, "train")
    if found is None:
        return NOT_YET
    claims = found["claims"]
    lines = [
        "A training step (`benchmarks/train_before.py`, a student of SmolLM2, 8 rows of 256 "
        "tokens, each figure with its commit in benchmarks/results/train.json), ratios:",
        "",
        "| | " + " | ".join(PRECISIONS) + " |",
        "| --- |" + " ---: |" * len(PRECISIONS),
    ]
    for title, name in STEPS:
        told = [claims.get(f"{name}_{precision}") for precision in PRECISIONS]
        spelt = " | ".join(f"{claim['value']:.2f}" if claim else "-" for claim in told)
        lines.append(f"| {title} | {spelt} |")
    return "\n".join(lines)


def _int8(results: Path) -> str:
    found = read_results(results, "int8")
    if found is None:
        return NOT_YET
    claims = found["claims"]
    lines = [
        f"A teacher in int8 (`make bench-int8`, {found['date'][:10]}, commit {found['commit']}):",
        "",
        "| | " + " | ".join(PRECISIONS) + " |",
        "| --- |" + " ---: |" * len(PRECISIONS),
    ]
    for title, name, spell in (
        ("KL from the teacher in this precision, nats a token", "kl_int8_{}", "{:.4f}"),
        ("Tokens of answers a second, of its", "tokens_per_s_int8_vs_{}", "{:.2f}"),
    ):
        told = [claims.get(name.format(precision)) for precision in PRECISIONS]
        spelt = " | ".join(spell.format(claim["value"]) if claim else "-" for claim in told)
        lines.append(f"| {title} | {spelt} |")
    return "\n".join(lines)
