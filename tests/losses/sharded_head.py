"""What each process of `test_sharded.py` runs, in a module that a process can import.

Every process has the rows that are its share, and a part of the head.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from potstill.losses.chunked import distillation_loss
from potstill.losses.targets import DenseTargets
from potstill.models.head import Head

PROCESSES = 2
ROWS, WIDTH = 10, 6


@dataclass(frozen=True)
class Case:
    """A head of `weights` rows, odd or even, of which `tokens` are tokens; with a bias or not."""

    weights: int
    tokens: int
    bias: bool
    cross_entropy: float


CASES = [Case(16, 16, False, 0.0), Case(13, 11, True, 0.3), Case(3, 2, True, 1.0)]


def drawn(case: Case) -> tuple[Tensor, nn.Linear, Head, Tensor, Tensor]:
    """Return hidden_ND, the student's head, the teacher's, its states and labels; all the same
    in every process."""
    generator = torch.Generator().manual_seed(case.weights)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    linear = nn.Linear(WIDTH, case.weights, bias=case.bias)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.copy_(normal(*parameter.shape))
    teacher = Head(normal(case.tokens, 4))
    label_N = torch.randint(0, case.tokens, (ROWS,), generator=generator)
    return normal(ROWS, WIDTH), linear, teacher, normal(ROWS, 4), label_N


def loss_and_gradients(case: Case, rows: slice, *, sharded: bool) -> dict[str, Tensor]:
    """Return the loss of these rows, and the gradients as they lie in this process."""
    hidden_ND, linear, teacher, teacher_ND, label_N = drawn(case)
    if sharded:
        fully_shard(linear, mesh=init_device_mesh("cpu", (PROCESSES,)))
        assert isinstance(linear.weight, DTensor)
    hidden_ND = hidden_ND[rows].requires_grad_()
    loss, _ = distillation_loss(
        hidden_ND,
        Head(linear.weight, linear.bias, softcap=5.0, tokens=case.tokens),
        DenseTargets(teacher_ND[rows], teacher),
        label_N[rows],
        normaliser=ROWS,
        cross_entropy_weight=case.cross_entropy,
    )
    loss.backward()
    assert hidden_ND.grad is not None
    found = {"loss": loss.detach(), "hidden": hidden_ND.grad}
    for name, parameter in linear.named_parameters():
        gradient = parameter.grad
        assert gradient is not None
        found[name] = gradient.to_local() if isinstance(gradient, DTensor) else gradient
    return found


def share_of(rank: int) -> slice:
    """Return the rows of a process: not the same number in each."""
    return slice(0, 3) if rank == 0 else slice(3, ROWS)


def run(rank: int, folder: str) -> None:
    """Be one of the processes; what it finds goes into a file."""
    torch.set_num_threads(1)
    if Path("/sys/class/net/lo").exists():
        # Else gloo asks what the machine's name stands for, which not every network answers.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = distributed.FileStore(f"{folder}/store", PROCESSES)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=PROCESSES, timeout=timedelta(seconds=60)
    )
    try:
        found = [loss_and_gradients(case, share_of(rank), sharded=True) for case in CASES]
        torch.save(found, Path(folder) / f"{rank}.pt")
    finally:
        distributed.destroy_process_group()
