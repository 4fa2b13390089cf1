"""Every suspect of the zoo under every test; resumable by suspect.

    python benchmarks/zoo/run.py FOLDER [--only NAME...] [--quick]

Scores and digests of raw logs go to FOLDER/found/NAME.json; `summary.py` makes zoo.json of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from files import found_in, kept, log_of
from plans import DIGEST, Owner, every_test, order_plan
from suspects import EPOCHS, Suspect, everybody, quick
from world import World

from potstill.durable import write_bytes
from potstill.models.load import load
from potstill.models.quiet import quiet_transformers
from potstill.trace import order
from potstill.trace.agreement import AgreementItem, agreement_finding
from potstill.trace.alike import likeness_of
from potstill.trace.finding import Finding

# The fresh secrets of the order's null distribution are the plan's, so that every suspect is
# compared with the same orders: they are planned once.
order.order_positions = lru_cache(maxsize=10_001)(order.order_positions)


def tested(owner: Owner, suspect: Suspect, folder: Path) -> dict[str, Any]:
    """Return a suspect's findings by test, with the digest of each raw log."""
    path = suspect.make(owner.world)
    model = load(str(path), device="cpu", precision="fp32")
    rows = {}
    for name, ask in every_test(owner, model, large=suspect.headline).items():
        started = time.perf_counter()
        asked = ask()
        if asked is None:
            rows[name] = {"left_out": "another tokenizer"}
            continue
        rows[name] = kept(folder, suspect.name, name, asked, started)
    return {
        "name": suspect.name,
        "kind": suspect.kind,
        "claims": sorted(suspect.claims),
        "served": suspect.served,
        "share": suspect.share,
        "epoch": suspect.epoch,
        "headline": suspect.headline,
        "indirect": suspect.indirect,
        "innocent": suspect.innocent,
        "weights": model.identity,
        "plan": DIGEST,
        "tests": rows,
    }


def judged_again(owner: Owner, folder: Path, test: str) -> None:
    """Put a test's findings right in what was found, from the raw logs and without a suspect.

    For a change of how the test is judged: what was asked, and its log, stay as they are.
    """
    judge = {"order": _order_again, "agreement": _agreement_again}[test](owner)
    for path in sorted((folder / "found").glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if "finding" not in row["tests"][test]:
            continue
        log = log_of(folder, row["name"], test)
        found = judge(log.read_text(encoding="utf-8").splitlines())
        row["tests"][test]["finding"] = found.model_dump(mode="json")
        write_bytes(path, json.dumps(row, indent=1).encode())
        void = "" if found.void is None else ", void"
        print(f"{row['name']}: {test} {found.log10_p:.1f} ({found.effect:+.2f}){void}", flush=True)


def _order_again(owner: Owner) -> Callable[[Sequence[str]], Finding]:
    planned, secret = order_plan(owner), owner.world.secret("teacher")

    def judge(lines: Sequence[str]) -> Finding:
        items = [order.OrderItem.model_validate_json(line) for line in lines]
        return order.order_finding(planned, items, DIGEST, secret)

    return judge


def _agreement_again(owner: Owner) -> Callable[[Sequence[str]], Finding]:
    """Return what judges logs of before there were clusters, by the teacher's answers."""
    planned, answers = owner.greedy

    def judge(lines: Sequence[str]) -> Finding:
        logged = [AgreementItem.model_validate_json(line) for line in lines]
        items = [
            item.model_copy(update={"likeness": likeness_of(ids)})
            for item, ids in zip(logged, answers, strict=True)
        ]
        return agreement_finding(planned, items, DIGEST)

    return judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument(
        "--judge-again",
        choices=("order", "agreement"),
        help="Only judge a test's logs again, as it is judged now.",
    )
    parser.add_argument("--skip", type=int, default=0, help="Begin with the N-th suspect.")
    parser.add_argument("--step", type=int, default=1, help="Take every N-th suspect.")
    parser.add_argument("--quick", action="store_true", help="One of each of the main kinds.")
    given = parser.parse_args()
    owner = Owner(World(given.folder))
    everyone = quick() if given.quick else everybody()
    if given.judge_again:
        judged_again(owner, given.folder, given.judge_again)
        return
    with quiet_transformers():
        # What stands in the headline comes first, and earlier epochs last.
        order = sorted(everyone, key=lambda s: (s.epoch < EPOCHS, not s.headline))
        for suspect in order[given.skip :: given.step]:
            path = found_in(given.folder, suspect.name)
            if path.exists() or (given.only and suspect.name not in given.only):
                continue
            started = time.perf_counter()
            with torch.inference_mode(False):
                row = tested(owner, suspect, given.folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, json.dumps(row, indent=1).encode())
            figures = {
                name: round(test["finding"]["log10_p"], 1)
                for name, test in row["tests"].items()
                if "finding" in test
            }
            print(f"{suspect.name}: {figures}, {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
