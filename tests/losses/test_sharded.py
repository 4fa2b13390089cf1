"""A head that is shared out to processes (FSDP2) gives the loss and gradients of the whole head."""

from __future__ import annotations

import pytest
import sharded_head
import torch
from torch import Tensor, distributed

Found = list[dict[str, Tensor]]


@pytest.fixture(scope="module")
def by_process(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What two processes found, each with its own rows and its own part of the head."""
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    for attempt in (1, 2):
        folder = tmp_path_factory.mktemp("processes")
        try:
            torch.multiprocessing.spawn(
                sharded_head.run, (str(folder),), nprocs=sharded_head.PROCESSES, join=True
            )
            break
        except Exception:
            # Two processes do not always find each other; what they compute fails twice.
            if attempt == 2:
                raise
    return [
        torch.load(folder / f"{rank}.pt", weights_only=True)
        for rank in range(sharded_head.PROCESSES)
    ]


@pytest.mark.parametrize("number", range(len(sharded_head.CASES)))
def test_a_sharded_head_gives_the_same_loss_and_gradients(
    number: int, by_process: list[Found]
) -> None:
    case = sharded_head.CASES[number]
    whole = sharded_head.loss_and_gradients(case, slice(None), sharded=False)
    parts = [found[number] for found in by_process]
    torch.testing.assert_close(sum(part["loss"] for part in parts), whole["loss"])
    for name in whole.keys() - {"loss"}:
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), whole[name])
    # Every process holds a part, the first one more than half where rows are odd.
    assert len(parts[0]["weight"]) == -(-case.weights // 2)
