"""Hidden targets: the teacher's final hidden states, and the head that turns them into logits.

One row holds a response's states as fp16, so 2 d bytes a position; the head is stored once a
scorer. Together they are the teacher's whole next-token distribution.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from blake3 import blake3
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from potstill.durable import publish, staged
from potstill.errors import PotstillError
from potstill.exchanges.rows import TargetKey, TargetRow, target_table
from potstill.exchanges.shards import digest_of, open_shard, write_shard
from potstill.models.head import Head

SPEC = "hidden-fp16"
# A row group is decoded whole for any row in it, and costs half a kilobyte of footer.
_GROUP_BYTES = 128 * 1024
_HEAD_PREFIX = "head-"


@dataclass(frozen=True)
class HiddenTargets:
    """What one scorer's final hidden states are at each response position of one exchange.

    `hidden_RD` has a row for each response token: the state, after the last norm, that
    predicts it. `scorer` is the identity of the model that computed it.
    """

    exchange_id: str
    scorer: str
    hidden_RD: Tensor


def target_row(targets: HiddenTargets) -> TargetRow:
    """Return the row that stores `targets`.

    Raises `PotstillError` where a value is not finite in fp16, rather than store an infinity.
    """
    hidden_RD = targets.hidden_RD.detach()
    if hidden_RD.ndim != 2:
        raise ValueError(f"hidden_RD must have two dimensions, not {hidden_RD.ndim}")
    # Converted first: a comparison in bf16 would round the bound as well.
    stored_RD = hidden_RD.to("cpu", torch.float16).contiguous()
    if not bool(torch.isfinite(stored_RD).all()):
        raise PotstillError(
            "a hidden state of the teacher is not finite or beyond fp16's range (65504), so its "
            "targets cannot be stored; set collect.targets to none, and training asks the "
            "teacher itself"
        )
    data = stored_RD.numpy().astype("<f2", copy=False)
    rows, dim = stored_RD.shape
    return TargetRow(targets.exchange_id, targets.scorer, SPEC, rows, dim, data.tobytes())


def hidden_of(rows: int, dim: int, data: bytes | memoryview | pa.Buffer) -> Tensor:
    """Return hidden_RD (fp16, its own memory) of what `target_row` stored."""
    return torch.from_numpy(np.frombuffer(data, dtype="<f2").reshape(rows, dim).copy())


def write_target_shard(folder: Path, rows: Sequence[TargetRow]) -> Path:
    """Write rows of targets as one shard, with row groups sized for access by id."""
    mean_bytes = max(1, sum(len(row.data) for row in rows) // max(1, len(rows)))
    return write_shard(folder, target_table(rows), group_rows=max(1, _GROUP_BYTES // mean_bytes))


class TargetShards:
    """Access by id to the targets in shards. The shards are open as memory maps."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files: dict[Path, pq.ParquetFile] = {}
        self._places: dict[TargetKey, tuple[Path, int, int]] = {}
        for path in paths:
            self._add(path)

    def _add(self, path: Path) -> None:
        file = self._files[path] = open_shard(path)
        names = ("exchange_id", "scorer", "spec")
        table = file.read(columns=list(names))
        keys = iter(zip(*(table.column(name).to_pylist() for name in names), strict=True))
        for group in range(file.num_row_groups):
            for row in range(file.metadata.row_group(group).num_rows):
                self._places[next(keys)] = (path, group, row)

    def __contains__(self, key: TargetKey) -> bool:
        return key in self._places

    def keys(self) -> Iterable[TargetKey]:
        """Return the keys of all rows."""
        return self._places.keys()

    def paths_of(self, keys: Iterable[TargetKey]) -> set[Path]:
        """Return the shards that hold any of `keys`."""
        return {self._places[key][0] for key in keys}

    def read(self, keys: Sequence[TargetKey]) -> dict[TargetKey, Tensor]:
        """Return hidden_RD (fp16) for each key; each row group is decoded once a call."""
        wanted: dict[tuple[Path, int], list[tuple[int, TargetKey]]] = defaultdict(list)
        for key in keys:
            path, group, row = self._places[key]
            wanted[path, group].append((row, key))
        found = {}
        for (path, group), places in wanted.items():
            table = self._files[path].read_row_group(group, columns=["rows", "dim", "data"])
            rows, dims, data = (table.column(name) for name in ("rows", "dim", "data"))
            for row, key in places:
                found[key] = hidden_of(rows[row].as_py(), dims[row].as_py(), data[row].as_buffer())
        return found

    def close(self) -> None:
        """Close the memory maps."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._places.clear()


def save_head(folder: Path, scorer: str, head: Head) -> None:
    """Store a scorer's head in `folder`, durable on return; writes nothing if it is there."""
    known = _head_files(folder, scorer)
    if known and all(head_is_intact(path) for path in known):
        return
    tensors = {"weight": head.weight_VD.detach().to("cpu").contiguous()}
    if head.bias_V is not None:
        tensors["bias"] = head.bias_V.detach().to("cpu").contiguous()
    facts = {"scorer": scorer, "scale": repr(head.scale)}
    if head.softcap is not None:
        facts["softcap"] = repr(head.softcap)
    if head.tokens is not None:
        facts["tokens"] = str(head.tokens)
    with staged(folder) as temporary:
        # Bytes are written by us: safetensors' own error for a full disk has no errno.
        temporary.write_bytes(save(tensors, metadata=facts))
        digest = digest_of(temporary)
        final = folder / f"{_HEAD_PREFIX}{_scorer_digest(scorer)}-{digest}.safetensors"
        publish(temporary, final)
    for older in known:
        if older != final:
            older.unlink(missing_ok=True)


def load_head(folder: Path, scorer: str) -> Head:
    """Return a stored head on the CPU, in the dtype it was stored in.

    Raises `PotstillError` where the scorer has none, or where its file is damaged.
    """
    files = _head_files(folder, scorer)
    if not files:
        raise PotstillError(
            f"the run holds no output head of {scorer}; collect with collect.targets: hidden first"
        )
    path = files[0]
    if not head_is_intact(path):
        raise PotstillError(
            f"the head {folder.name}/{path.name} is damaged: its bytes do not give the checksum in "
            "its name; run the same command again, it is set aside and stored again"
        )
    with safe_open(str(path), framework="pt") as file:
        facts = file.metadata() or {}
        bias_V = file.get_tensor("bias") if "bias" in file.keys() else None  # noqa: SIM118
        return Head(
            weight_VD=file.get_tensor("weight"),
            bias_V=bias_V,
            softcap=float(facts["softcap"]) if "softcap" in facts else None,
            scale=float(facts["scale"]),
            tokens=int(facts["tokens"]) if "tokens" in facts else None,
        )


def head_files(folder: Path) -> list[Path]:
    """Return the stored heads in a folder."""
    return sorted(folder.glob(f"{_HEAD_PREFIX}*.safetensors"))


def head_is_intact(path: Path) -> bool:
    """Tell whether a stored head's bytes still give the checksum in its name."""
    return path.stem.rpartition("-")[2] == digest_of(path)


def _head_files(folder: Path, scorer: str) -> list[Path]:
    return sorted(folder.glob(f"{_HEAD_PREFIX}{_scorer_digest(scorer)}-*.safetensors"))


def _scorer_digest(scorer: str) -> str:
    return blake3(scorer.encode()).hexdigest(length=8)
