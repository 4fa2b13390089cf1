"""What a program hands in as objects, kept as files beside the run so that it can resume.

A network becomes a model directory, prompts become a file of rows: the run reads these as it reads
any other, and whoever gets the run directory finds what it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.durable import replaced_directory, write_bytes, write_errors
from potstill.errors import PotstillError

Network = tuple[Any, Any]
"""A transformers causal language model, and its tokenizer."""

_SOURCE = "potstill-source.json"


def given_folder(root: Path) -> Path:
    """Return the folder that what is handed in for a run directory is kept in."""
    return root.with_name(f"{root.name}-given")


def kept_network(model: Network, folder: Path, name: str, licence: str | None = None) -> Path:
    """Keep a network with its tokenizer as a model directory; return the directory.

    `licence` is what its licence is stated to be, in the directory: a network says nothing about
    it. One that was kept before is replaced; a run that began with another refuses to go on.
    Raises PotstillError where the pair
    is none of a transformers model and a tokenizer.
    """
    network, tokenizer = model
    if not hasattr(network, "save_pretrained") or not hasattr(tokenizer, "save_pretrained"):
        raise PotstillError(
            f"{name} has to be a transformers model and its tokenizer, or the name of a model; "
            f"got {type(network).__name__} and {type(tokenizer).__name__}"
        )
    directory = folder / name
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with replaced_directory(directory) as fresh:
        network.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        if licence is not None:
            stated = {"made_by": "the program that handed it in", "license": licence}
            write_bytes(fresh / _SOURCE, json.dumps(stated, indent=1).encode())
    return directory


def kept_prompts(prompts: Iterable[Any], folder: Path) -> Path:
    """Keep prompts as a file of rows; return the file.

    Each is text, a sequence of messages, or a row (a mapping, as of a `datasets.Dataset`), whose
    columns stay as they are. Raises PotstillError for anything else, and for none at all.
    """
    lines = [json.dumps(_row(p, n), ensure_ascii=False) for n, p in enumerate(prompts, 1)]
    if not lines:
        raise PotstillError("prompts holds no prompt; hand in at least one text or conversation")
    path = folder / "prompts.jsonl"
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(path, ("\n".join(lines) + "\n").encode())
    return path


def _row(prompt: Any, number: int) -> Mapping[str, Any]:
    if isinstance(prompt, str):
        return {"messages": [{"role": "user", "content": prompt}]}
    if isinstance(prompt, Mapping):
        return dict(prompt)
    if isinstance(prompt, Sequence) and all(isinstance(turn, Mapping) for turn in prompt):
        return {"messages": [dict(turn) for turn in prompt]}
    raise PotstillError(
        f"prompt {number} is a {type(prompt).__name__}; hand in text, a list of messages, or rows"
    )
