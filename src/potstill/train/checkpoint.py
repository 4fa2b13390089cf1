"""Checkpoints: everything that the next step depends on, in one directory, written atomically.

Of the weights they hold what is trained. The others are those of the student that training
started from, which a resumed run starts from as well.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from potstill.durable import replaced_directory
from potstill.errors import PotstillError

_KEEP = 2
_PREFIX = "step-"
_BESIDE = "beside.safetensors"

Parameters = Mapping[str, torch.nn.Parameter]
NO_PARAMETERS: Parameters = MappingProxyType({})
# What reading a damaged file may raise.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    EOFError,
    UnpicklingError,
    SafetensorError,
)


@dataclass(frozen=True)
class Position:
    """Where training stands: steps done, tokens read, seconds spent, the losses that are reported.

    `plan` names the data order; a checkpoint of another one is refused. `steps` is what the source
    of the steps needs to go on, None for nothing. The distances of hidden states are None where
    none are matched.
    """

    step: int
    tokens: int
    response_tokens: int
    seconds: float
    first_loss: float
    last_loss: float
    plan: str
    steps: str | None = None
    first_hidden: float | None = None
    last_hidden: float | None = None


def save_checkpoint(
    folder: Path,
    network: Any,
    optimizer: torch.optim.Optimizer,
    position: Position,
    beside: Parameters = NO_PARAMETERS,
) -> Path:
    """Write a checkpoint, whole or not at all, and delete all but the last two.

    `beside` is what is trained with the network and is no part of it.
    """
    target = folder / f"{_PREFIX}{position.step:08d}"
    with replaced_directory(target) as partial:
        save_file(dict(trained_parameters(network)), partial / "model.safetensors")
        if beside:
            save_file(dict(beside), partial / _BESIDE)
        # Through a file of Python's own: torch's hides why a write failed.
        with (partial / "optimizer.pt").open("wb") as file:
            torch.save({"optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}, file)
        (partial / "position.json").write_text(json.dumps(asdict(position)), encoding="utf-8")
    for old in stored_checkpoints(folder)[:-_KEEP]:
        shutil.rmtree(old)
    return target


def stored_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    return sorted(p for p in folder.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdigit())


def trained_parameters(network: Any) -> Parameters:
    """Return by name what training changes."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def restore_latest(
    folder: Path,
    network: Any,
    optimizer: torch.optim.Optimizer,
    plan: str,
    beside: Parameters = NO_PARAMETERS,
) -> Position | None:
    """Put the last checkpoint's state in place; return its position, None where there is none."""
    found = stored_checkpoints(folder)
    if not found:
        return None
    path = found[-1]
    try:
        position = Position(**json.loads((path / "position.json").read_text(encoding="utf-8")))
        load_trained(network, path / "model.safetensors")
        if beside:
            _load(beside, path / _BESIDE)
        state = torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu")
    except UNREADABLE as error:
        raise PotstillError(
            f"the checkpoint {path.name} is damaged or cut off; delete it to go on from the one "
            "before"
        ) from error
    if position.plan != plan:
        raise PotstillError(
            f"the checkpoint {path.name} belongs to other training data; start over with --fresh"
        )
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    return position


def load_trained(network: Any, path: Path) -> None:
    """Put stored weights in place.

    Raises one of `UNREADABLE` where the file is broken or holds others than those that are trained.
    """
    _load(trained_parameters(network), path)


@torch.no_grad()
def _load(trained: Parameters, path: Path) -> None:
    stored = load_file(path)
    if stored.keys() != trained.keys():
        raise ValueError("the checkpoint holds other weights than those that are trained")
    for name, parameter in trained.items():
        parameter.copy_(stored[name])
