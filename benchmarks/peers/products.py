"""The matrix products that no training step can do without, and nothing else.

Every linear layer of the student three times (forward, and the gradients of input and weight),
every linear layer of the teacher once, and both heads on the response positions. Attention's own
products, norms, activations, the softmax and the optimiser are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from peers import loss_products
from peers.loss_case import Case, seconds_of
from peers.setup import Setup, torch_dtype

Products = Callable[[], None]


def run(setup: Setup, precision: str, device: torch.device, passes: int = 3) -> dict[str, Any]:
    """Return the seconds of each pass; the first is not counted."""
    dtype = torch_dtype(precision)
    student, teacher = _shapes(setup.student), _shapes(setup.teacher)
    body = _body_products(student["body"], teacher["body"], setup.tokens, dtype, device)
    tokens, width = student["head"]
    case = Case.drawn(setup.response_tokens, tokens, width, dtype, device)
    head = loss_products.fastest(case)
    times = []
    for _ in range(passes + 1):
        times.append((_seconds(body, device), seconds_of(head, case)))
    flops = _flops(student, teacher, setup)
    seconds = [a + b for a, b in times[1:]]
    return {
        "seconds": seconds,
        "losses": [],
        "head_seconds": [b for _, b in times[1:]],
        "flops": flops,
        "flops_per_s": flops / median(seconds),
    }


def _shapes(directory: str) -> dict[str, Any]:
    """Return (out, in) of each linear layer of the body, and of the head."""
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory))
    layers = [m for m in network.base_model.modules() if isinstance(m, nn.Linear)]
    head = network.get_output_embeddings()
    return {
        "body": [(layer.out_features, layer.in_features) for layer in layers],
        "head": (head.out_features, head.in_features),
    }


def _body_products(
    student: list[tuple[int, int]],
    teacher: list[tuple[int, int]],
    rows: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Products:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device, dtype=dtype)

    # Each layer has weights of its own, as it has in a model: no cache can hold them all.
    learning = [normal(o, i) for o, i in student]
    asked = [normal(o, i) for o, i in teacher]
    states = {width: normal(rows, width) for pair in (*student, *teacher) for width in pair}
    found = {width: torch.empty_like(state) for width, state in states.items()}
    slopes = {shape: normal(*shape) for shape in {*student}}

    def products() -> None:
        for weight_OI in asked:
            out, into = weight_OI.shape
            torch.mm(states[into], weight_OI.T, out=found[out])
        for weight_OI in learning:
            out, into = weight_OI.shape
            torch.mm(states[into], weight_OI.T, out=found[out])
            torch.mm(states[out], weight_OI, out=found[into])
            torch.mm(states[out].T, states[into], out=slopes[out, into])

    return products


def _flops(student: dict[str, Any], teacher: dict[str, Any], setup: Setup) -> int:
    def elements(shapes: list[tuple[int, int]]) -> int:
        return sum(out * into for out, into in shapes)

    body = 2 * setup.tokens * (3 * elements(student["body"]) + elements(teacher["body"]))
    head = 3 * elements([student["head"]]) + elements([teacher["head"]])
    return body + 2 * setup.response_tokens * head


def _seconds(products: Products, device: torch.device) -> float:
    started = time.perf_counter()
    products()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
