"""How exact a step on the student's own answers is: against enumeration, and against itself.

In fp32, on nano models but for the last part. Part `exact`: against float64 autograd through the
whole network. Part `server`: with a server that tells likeliest tokens in the teacher's place,
beside the teacher itself. Part `told`: how much likeliest tokens tell of a real teacher. Writes
benchmarks/results/onpolicy.json, where parts that are not run stay as they were.

    python benchmarks/onpolicy.py [--only exact|server|told ...] [--tokens N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from result_parts import write_part

TESTS = Path(__file__).parents[1] / "tests"
sys.path += [str(TESTS / part) for part in ("", "nano", "train", "losses")]

from nano_models import build  # noqa: E402
from on_policy_runs import case, first_step, moved, own_alone  # noqa: E402
from onpolicy_served import served_part  # noqa: E402
from onpolicy_told import told_part  # noqa: E402
from test_on_policy_exact import in_float64, oracle  # noqa: E402

from potstill.losses.divergence import Divergence  # noqa: E402
from potstill.models.load import head_of, load  # noqa: E402
from potstill.models.score import response_hidden  # noqa: E402

Row = dict[str, Any]
KINDS = ("forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl")
FAMILIES = ("llama", "qwen3", "gemma", "neox")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--tokens", type=int, default=100_000, help="tokens whose loss is looked at"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    given = parser.parse_args()
    for part in given.only:
        with tempfile.TemporaryDirectory() as name:
            claims, rows = PARTS[part](Path(name), given)
        for key, claim in claims.items():
            print(f"{key}: {claim['value']:.4g} {claim['unit']}")
        print(write_part("onpolicy", part, claims, rows, torch.float32))


def exact_part(folder: Path, wanted: int) -> tuple[dict[str, Row], list[Row]]:
    """Return claims and rows: enumeration, a student that is its teacher, the least loss."""
    against = [against_enumeration(family, folder) for family in FAMILIES]
    equal = [
        with_equals(*chosen, folder)
        for chosen in product((0.7, 1.0, 1.3), (1.0, 0.9), ("buckets", "packed"))
    ]
    least = least_losses(folder, wanted)
    claims = {
        "gradient_cosine": _claim(min(r["cosine"] for r in against), "cosine", len(against)),
        "equal_loss": _claim(max(abs(r["loss"]) for r in equal), "nats", len(equal)),
        "equal_gradient_entry": _claim(max(r["entry"] for r in equal), "1", len(equal)),
        "equal_gradient_norm": _claim(max(r["norm"] for r in equal), "1", len(equal)),
        "least_token_loss": _claim(least["least"], "nats", least["tokens"]),
    }
    return claims, [*against, *equal, least]


PARTS = {
    "exact": lambda folder, given: exact_part(folder, given.tokens),
    "server": lambda folder, given: served_part(folder),
    "told": lambda folder, given: told_part(),
}


def _claim(value: float, unit: str, runs: int) -> Row:
    return {"value": value, "unit": unit, "runs": runs}


def against_enumeration(family: str, folder: Path) -> Row:
    """Return how a step's gradient compares with that of the enumerated reverse KL."""
    path = build(family, folder / family)
    config = own_alone({"objective": "reverse_kl", "prompts": 8, "max_tokens": 24})
    student = moved(load(str(path), precision="fp32", trainable=True))
    exact, teacher = in_float64(student), in_float64(load(str(path), precision="fp32"))
    made = case(path, config, student=student)
    step = first_step(made, folder / f"{family}-enumerated")
    expected = oracle(made, step, exact, teacher)
    expected.backward()
    wanted = {n: p.grad for n, p in exact.network.named_parameters()}
    mine = torch.cat([step.gradient[n].double().flatten() for n in wanted])
    theirs = torch.cat([g.flatten() for g in wanted.values()])
    return {
        "against": family,
        "cosine": float(torch.cosine_similarity(mine, theirs, dim=0)),
        "norm_ratio": float(mine.norm() / theirs.norm()),
        "loss": step.loss,
        "exact_loss": float(expected.detach()),
    }


def with_equals(temperature: float, top_p: float, packing: str, folder: Path) -> Row:
    """Return loss and gradient of a student that is its teacher."""
    path = build("llama", folder / "llama")
    config = own_alone(
        {"temperature": temperature, "top_p": top_p, "prompts": 8, "max_tokens": 24},
        temperature=temperature,
        packing=packing,
        objective="reverse_kl",
    )
    student = load(str(path), precision="fp32", trainable=True)
    place = folder / f"equal-{temperature}-{top_p}-{packing}"
    step = first_step(case(path, config, student=student), place)
    return {
        "temperature": temperature,
        "top_p": top_p,
        "packing": packing,
        "loss": step.loss,
        "entry": step.largest,
        "norm": step.norm,
    }


@torch.inference_mode()
def least_losses(folder: Path, wanted: int) -> Row:
    """Return the least loss of any token, over students that are more and less like their teacher.

    The divergences are those that the loss calls; none clamps its value.
    """
    path = build("llama", folder / "llama")
    teacher = load(str(path), precision="fp32")
    generator = torch.Generator().manual_seed(0)
    least: dict[str, float] = {}
    seen = 0
    apart = (1e-6, 1e-4, 1e-2)
    students = [moved(load(str(path), precision="fp32", trainable=True), by) for by in apart]
    while seen < wanted:
        ids_BT = torch.randint(5, 440, (64, 130), generator=generator)
        texts = [(row[:2], row[2:]) for row in ids_BT.tolist()]
        p_NV = _logp(teacher, texts)
        for student in students:
            q_NV = _logp(student, texts)
            for kind in KINDS:
                value_N, _ = Divergence(kind).function(p_NV, q_NV)
                least[kind] = min(least.get(kind, 0.0), float(value_N.min()))
            seen += len(q_NV)
    return {"tokens": seen, "least": min(least.values()), "least_by_kind": least}


def _logp(model: Any, texts: Sequence[tuple[list[int], list[int]]]) -> torch.Tensor:
    return head_of(model).logits(torch.cat(response_hidden(model, texts))).log_softmax(-1)


if __name__ == "__main__":
    main()
