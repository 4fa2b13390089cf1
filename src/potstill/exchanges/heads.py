"""Heads in the store: what turns a scorer's hidden states into logits, once for all of them."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save

from potstill.canonical import digest_of_bytes, digest_of_file
from potstill.durable import publish, staged
from potstill.errors import PotstillError
from potstill.models.head import Head

_HEAD_PREFIX = "head-"


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
        digest = digest_of_file(temporary)
        final = folder / f"{_HEAD_PREFIX}{_scorer_digest(scorer)}-{digest}.safetensors"
        publish(temporary, final)
    for older in known:
        if older != final:
            older.unlink(missing_ok=True)


def has_head(folder: Path, scorer: str) -> bool:
    """Tell whether a scorer's head is stored, and intact."""
    return any(head_is_intact(path) for path in _head_files(folder, scorer))


def load_head(folder: Path, scorer: str) -> Head:
    """Return a stored head on the CPU, in the dtype it was stored in.

    Raises `PotstillError` where the scorer has none, or where its file is damaged.
    """
    files = _head_files(folder, scorer)
    if not files:
        raise PotstillError(f"the run holds no output head of {scorer}; run the same command again")
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
    return path.stem.rpartition("-")[2] == digest_of_file(path)


def _head_files(folder: Path, scorer: str) -> list[Path]:
    return sorted(folder.glob(f"{_HEAD_PREFIX}{_scorer_digest(scorer)}-*.safetensors"))


def _scorer_digest(scorer: str) -> str:
    return digest_of_bytes(scorer.encode(), 8)
