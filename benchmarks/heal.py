"""What closed-form healing wins back, without any training.

Five of SmolLM2's thirty blocks are dropped, chosen by the loss after healing on validation
prompts. The student is measured on 200 held-out prompts (teacher text at temperature 1): cut
plainly, with the block before each gap refitted, and with every later block refitted too (the
run's own student). Beside it every sixth block is dropped plainly, as DistilBERT does. Two more
say what is left to win: healing on less text, and a linear map of the residual stream beside the
refits, where the first blocks were, which no ordinary block holds. Writes
benchmarks/results/heal.json.

With `--nano` only what `heal_nano.py` says is measured, in a few minutes: nano models of families
whose blocks write in other ways. Either part leaves the other's claims and rows as they stand.

    python benchmarks/heal.py [--run runs/bench-heal] [--set shrink.candidates=4]
    python benchmarks/heal.py --nano
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, write_results
from heal_nano import is_nano, nano_claims, nano_rows
from result_files import read_results
from torch import Tensor

from potstill.cli.common import progress_for
from potstill.evaluate.fidelity import compare
from potstill.evaluate.summary import summarise
from potstill.models.load import blocks_of, head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.recipe.io import packaged_recipe
from potstill.runs import distill as pipeline
from potstill.runs.parts import Parts
from potstill.shrink.cut import Cut
from potstill.shrink.heal import heal
from potstill.shrink.making import pruned
from potstill.shrink.streams import TeacherStream, calibration_batches
from potstill.shrink.text_needs import calibration_rows
from potstill.shrink.trials import first_tokens
from potstill.work.rundir import RunDir
from potstill.work.stage_records import ShrinkRecord

DROPPED = 5
LESS_TEXT = {8_000: "cascade, 8,000 tokens", 32_000: "cascade, 32,000 tokens"}
# Of the typical direction's energy: the map is not to follow the noise of the weakest ones.
MAP_RIDGE = 0.01
SETTINGS = [
    "name=bench-heal",
    f"shrink.drop_layers={DROPPED}",
    "shrink.blocks=null",
    "prompts.limit=null",
    "shrink.vocabulary=null",
    "shrink.candidates=7",
    "train.frozen_blocks=0",
    "collect.max_tokens=128",
    "evaluate.max_tokens=128",
    "shrink.calibration_tokens=130000",
    "evaluate.greedy=false",
]

Measure = Callable[[LoadedModel], dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=Path, default=Path("runs/bench-heal"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--nano", action="store_true", help="nano models of other families alone")
    arguments = parser.parse_args()
    if arguments.nano:
        torch.set_num_threads(1)
        rows = nano_rows()
        print(written("nano", nano_claims(rows), rows, torch.float32))
        return
    recipe = packaged_recipe("demo", [*SETTINGS, *arguments.overrides])
    progress = progress_for(False)
    pipeline.distill(recipe, arguments.run, until="shrink", progress=progress)
    with RunDir.open(arguments.run, recipe) as run:
        parts = Parts(run, recipe, progress)
        rows = measured_rows(parts)
        dtype = parts.opened.teacher.compute_dtype
        parts.store.close()
    print(written("SmolLM2", claims_of(rows), rows, dtype))
    for row in rows:
        if "student" in row:
            print(row["student"], row["blocks"], row["kl_per_token"], row["top1_agreement"])


def claims_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the rows of SmolLM2 come to."""
    by_name = {row["student"]: row for row in rows if "student" in row}
    plain, healed = by_name["plain"], by_name["cascade"]
    claims = {
        "kl_healed_vs_plain": healed["kl_per_token"]["value"] / plain["kl_per_token"]["value"],
        "top1_agreement_healed": healed["top1_agreement"]["value"],
        "top1_agreement_plain": plain["top1_agreement"]["value"],
        "kl_healed": healed["kl_per_token"]["value"],
    }
    for count, name in LESS_TEXT.items():
        agreement = by_name[name]["top1_agreement"]["value"]
        claims[f"top1_agreement_healed_{count}_tokens"] = agreement
    mapped = by_name["cascade and a free linear map"]
    claims["top1_agreement_with_a_free_map"] = mapped["top1_agreement"]["value"]
    units = {"kl_healed_vs_plain": "ratio", "kl_healed": "nats a token"}
    return {k: {"value": v, "unit": units.get(k, "share"), "runs": 1} for k, v in claims.items()}


def written(part: str, claims: dict[str, Any], rows: list[dict[str, Any]], dtype: Any) -> Path:
    """Write a part (`SmolLM2` or `nano`), beside the other one as it stands on record.

    Date, commit and machine on top are those of the part that was measured last; the other one has
    its own in a row.
    """
    found = read_results(RESULTS, "heal") or {"claims": {}, "rows": []}
    kept = [row for row in found["rows"] if part_of(row) != part]
    if kept and not any("part" in row for row in kept):
        header = {key: found[key] for key in ("date", "commit", "machine")}
        kept.append({"part": part_of(kept[0]), **header})
    theirs = {n: c for n, c in found["claims"].items() if is_nano(n) != (part == "nano")}
    return write_results("heal", {**theirs, **claims}, [*kept, *rows], dtype)


def part_of(row: dict[str, Any]) -> str:
    """Return which part a row belongs to."""
    return str(row.get("part", "nano" if "nano" in row else "SmolLM2"))


def measured_rows(parts: Parts) -> list[dict[str, Any]]:
    """Return one row for each way to make the student."""
    done = parts.run.done(ShrinkRecord)
    assert done is not None and done.blocks is not None
    searched = done.blocks
    layers = len(blocks_of(parts.opened.teacher.network))
    evenly = tuple(range(layers // DROPPED - 1, layers, layers // DROPPED))[:DROPPED]
    measure = held_out_measure(parts)
    calibration = calibration_rows(parts.corpus, parts.recipe.shrink.calibration_tokens)
    rows = []
    students = {
        "plain": (searched, lambda: cut(parts, searched)),
        "gap": (searched, lambda: healed_on(parts, searched, calibration, cascade=False)),
        "cascade": (searched, lambda: parts.opened.student(parts.untrained, trainable=True)),
        "every sixth, plain": (evenly, lambda: cut(parts, evenly)),
        **{
            name: (searched, partial(healed_on, parts, searched, first_tokens(calibration, count)))
            for count, name in LESS_TEXT.items()
        },
        "cascade and a free linear map": (
            searched,
            lambda: with_free_map(parts, searched, calibration),
        ),
    }
    for name, (blocks, make) in students.items():
        rows.append({"student": name, "blocks": list(blocks), **measure(make())})
    rows.append({"search": done["trials"], "validation": [done["plain"], done["healed"]]})
    rows.append({"recipe": parts.recipe.model_dump(mode="json")})
    return rows


def cut(parts: Parts, blocks: Sequence[int]) -> LoadedModel:
    """Return the teacher without the blocks."""
    return pruned(parts.opened.teacher, Cut(tuple(blocks), None))[0]


def healed_on(
    parts: Parts,
    blocks: Sequence[int],
    calibration: Sequence[Sequence[int]],
    *,
    cascade: bool = True,
    map_DD: Tensor | None = None,
) -> LoadedModel:
    """Return the teacher without the blocks, healed.

    Without `cascade` only the block before each gap is refitted. `map_DD` is added to what enters
    the block after the first gap.
    """
    student, drop = cut(parts, blocks), Cut(tuple(blocks))
    if map_DD is not None:
        after = blocks_of(student.network)[blocks[0]]
        after.register_forward_pre_hook(partial(_mapped, map_DD), with_kwargs=True)
    batches = calibration_batches(parts.opened.teacher, calibration)
    heal(
        parts.opened.teacher,
        student,
        drop,
        batches,
        ridge=parts.recipe.shrink.ridge,
        cascade=cascade,
    )
    return student


def with_free_map(
    parts: Parts, blocks: Sequence[int], calibration: Sequence[Sequence[int]]
) -> LoadedModel:
    """Return the healed student with the best linear map in place of the first blocks dropped.

    It is fitted, beside the refit of the block before them, on what that block leaves of the
    teacher's state after them: the most that any linear repair at that place can win.
    """
    student = healed_on(parts, blocks, calibration, cascade=False)
    first = blocks[0]
    following = next(i for i in range(first, blocks[-1] + 2) if i not in blocks)
    batches = calibration_batches(parts.opened.teacher, calibration)
    pairs = zip(
        TeacherStream(student, batches).at(first),
        TeacherStream(parts.opened.teacher, batches).at(following),
        batches,
        strict=True,
    )
    gram_DD, cross_DD = torch.zeros(()), torch.zeros(())
    for mine, theirs, batch in pairs:
        state_ND = mine[batch.real_BT].double()
        gram_DD = gram_DD + state_ND.T @ state_ND
        cross_DD = cross_DD + state_ND.T @ (theirs[batch.real_BT].double() - state_ND)
    pull = MAP_RIDGE * gram_DD.diagonal().median()
    map_DD = torch.linalg.solve(gram_DD + pull * torch.eye(len(gram_DD)).double(), cross_DD)
    return healed_on(parts, blocks, calibration, map_DD=map_DD.float())


def _mapped(
    map_DD: Tensor, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    hidden = args[0] if args else kwargs["hidden_states"]
    with torch.autocast(hidden.device.type, enabled=False):
        moved = hidden + (hidden.float() @ map_DD).to(hidden.dtype)
    if args:
        return (moved, *args[1:]), kwargs
    return args, kwargs | {"hidden_states": moved}


def held_out_measure(parts: Parts) -> Measure:
    """Return what measures a student on the held-out prompts, with intervals over prompts."""
    rows = parts.corpus.exchanges("held_out", greedy=False)
    teacher_states = [state for state in parts.corpus.hidden(rows) if state is not None]
    pairs = [row.ids for row in rows]

    def measure(student: LoadedModel) -> dict[str, Any]:
        sums = compare(
            teacher_states,
            parts.opened.parent_head,
            response_hidden(student, pairs),
            head_of(student),
            [response for _, response in pairs],
        )
        found = summarise(sums, resamples=2000, seed=0)
        return {name: interval.as_dict() for name, interval in found.items()}

    return measure


if __name__ == "__main__":
    main()
