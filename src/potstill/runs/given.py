"""What a program hands in as objects, kept as files beside the run so that it can resume.

A network becomes a model directory and prompts a file of rows, which the run reads as it reads any
other. Each is named by the digest of what it holds: the same one is not written again, and another
one is another recipe's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3
from torch import Tensor

from potstill.canonical import digest_of_bytes, spaced_json
from potstill.durable import replaced_directory, write_bytes, write_errors
from potstill.errors import PotstillError

Network = tuple[Any, Any]
"""A transformers causal language model, and its tokenizer."""

_SOURCE = "potstill-source.json"
_DIGEST_BYTES = 6
# What saving a model writes into its config, and where it came from.
_INCIDENTAL = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")


def given_folder(root: Path) -> Path:
    """Return the folder that what is handed in for a run directory is kept in."""
    root = root.absolute()
    return root.with_name(f"{root.name}-given")


def checked_pair(model: object, argument: str) -> Network:
    """Return a network and its tokenizer.

    Raises PotstillError where it is none of transformers with its tokenizer.
    """
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    pair = model if isinstance(model, tuple | list) else (model,)
    kinds = (PreTrainedModel, PreTrainedTokenizerBase)
    if len(pair) != 2 or not all(map(isinstance, pair, kinds)):
        raise PotstillError(
            f"{argument} has to be the name or directory of a model, or a transformers model and "
            f"its tokenizer as a pair, but {kind_of(model)} was handed in"
        )
    network, tokenizer = pair
    if getattr(network, "_hf_peft_config_loaded", False):
        raise PotstillError(
            f"{argument} has adapters that lie beside its weights; merge them first "
            "(merge_and_unload), and hand in what that returns"
        )
    return network, tokenizer


@dataclass(frozen=True)
class GivenNetwork:
    """A network with its tokenizer, and the directory that it is kept in.

    `licence` is what its licence is stated to be: a network says nothing about it.
    """

    network: Any
    tokenizer: Any
    path: Path
    licence: str | None

    @classmethod
    def of(
        cls, model: object, folder: Path, argument: str, licence: str | None = None
    ) -> GivenNetwork:
        """Return where a network goes, without writing it.

        Raises PotstillError as `checked_pair`, and where weights are not in memory.
        """
        network, tokenizer = checked_pair(model, argument)
        digest = _digest(network, tokenizer, licence)
        return cls(network, tokenizer, folder / f"{argument}-{digest}", licence)

    def keep(self) -> None:
        """Write the directory, unless it is there; network and tokenizer stay as they are."""
        if self.path.is_dir():
            return
        stated = {"made_by": "the program that handed it in", "license": self.licence}
        with replaced_directory(self.path) as fresh, _unchanged(self.network):
            self.network.save_pretrained(fresh)
            self.tokenizer.save_pretrained(fresh)
            write_bytes(fresh / _SOURCE, json.dumps(stated, indent=1).encode())


@dataclass(frozen=True)
class GivenPrompts:
    """Prompts as the rows of a file, and the file that they are kept in."""

    rows: bytes
    path: Path

    @classmethod
    def of(cls, prompts: object, folder: Path, column: str) -> GivenPrompts:
        """Return where prompts go, without writing them.

        Each is text or a list of messages, which stands in `column`, or a row (a mapping, as of a
        `datasets.Dataset`), whose columns stay as they are. Raises PotstillError for anything else,
        and for none at all.
        """
        # The order of a set is another one in the process that goes on.
        unlike = isinstance(prompts, Mapping | bytes | set | frozenset)
        if unlike or not isinstance(prompts, Iterable):
            raise PotstillError(
                "prompts has to be a list of texts, of conversations or of rows, but "
                f"{kind_of(prompts)} was handed in" + _instead(prompts)
            )
        if hasattr(prompts, "iterrows"):
            raise PotstillError(
                "prompts is a data frame, which lists its columns alone; hand in its rows: "
                'frame.to_dict("records")'
            )
        lines = [_line(prompt, n, column) for n, prompt in enumerate(prompts)]
        if not lines:
            raise PotstillError(
                "prompts holds no prompt; hand in at least one text or conversation"
            )
        rows = b"".join(line + b"\n" for line in lines)
        return cls(rows, folder / f"prompts-{digest_of_bytes(rows, _DIGEST_BYTES)}.jsonl")

    def keep(self) -> None:
        """Write the file, unless it is there."""
        if not self.path.is_file():
            with write_errors(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self.path, self.rows)


def _line(prompt: object, number: int, column: str) -> bytes:
    if isinstance(prompt, str):
        row: Mapping[str, Any] = {column: prompt}
    elif isinstance(prompt, Mapping):
        row = prompt
        if set(row) == {"role", "content"}:
            raise PotstillError(
                f"prompts[{number}] is a message, not a conversation; put the messages of each "
                "conversation into a list of their own"
            )
    elif isinstance(prompt, list | tuple) and all(isinstance(turn, Mapping) for turn in prompt):
        row = {column: [dict(turn) for turn in prompt]}
    else:
        raise PotstillError(
            f"prompts[{number}] is {kind_of(prompt)}; hand in text, a list of messages, or a row "
            "with columns"
        )
    try:
        return json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise PotstillError(
            f"prompts[{number}] holds half of a character (a surrogate by itself), which no file "
            "can hold; correct it, or leave it out"
        ) from None
    except (TypeError, ValueError, RecursionError):
        raise PotstillError(
            f"prompts[{number}] holds values that JSON does not have; hand in text, numbers, truth "
            "values and lists or mappings of these"
        ) from None


def _instead(prompts: object) -> str:
    if not isinstance(prompts, Mapping) or not prompts:
        return ""
    return f"; hand in one of its parts: prompts[{next(iter(prompts))!r}]"


def kind_of(value: object) -> str:
    """Return in words what was handed in: its class, and those of what it holds."""
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(type(v).__name__ for v in value[:3])}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _digest(network: Any, tokenizer: Any, licence: str | None) -> str:
    """Return the digest of what a network computes and how it is spoken to, from memory.

    And of the licence that is stated for it: what was learnt under one is not another's.
    """
    hasher = blake3(max_threads=blake3.AUTO)
    for name, tensor in sorted(network.state_dict().items()):
        hasher.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        hasher.update(_bytes_of(tensor))
    stated = {
        "class": type(network).__name__,
        "config": _without_incidental(network.config),
        "generation": _without_incidental(network.generation_config),
        "licence": licence,
        "tokenizer": [type(tokenizer).__name__, tokenizer.chat_template, _vocabulary(tokenizer)],
    }
    hasher.update(spaced_json(stated, ascii_only=True))
    return hasher.hexdigest(length=_DIGEST_BYTES)


def _bytes_of(tensor: Tensor) -> Any:
    import torch

    if tensor.is_meta:
        raise PotstillError(
            "the network that was handed in has weights that are not in memory; load it without "
            "offloading, or hand in its directory"
        )
    flat = tensor.detach().cpu().contiguous().view(-1)
    return flat.view(torch.uint8).numpy()


def _without_incidental(config: Any) -> Any:
    if config is None:
        return None
    values = json.loads(json.dumps(config.to_dict(), default=str))
    return {name: value for name, value in values.items() if name not in _INCIDENTAL}


def _vocabulary(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return tokenizer.get_vocab()
    values = json.loads(backend.to_str())
    # Calls leave these behind, which change no token.
    return {name: v for name, v in values.items() if name not in ("truncation", "padding")}


@contextmanager
def _unchanged(network: Any) -> Iterator[None]:
    """Give a network's configs back as they were: saving writes its dtype and class into them."""
    configs = [c for c in (network.config, network.generation_config) if c is not None]
    kept = [dict(vars(config)) for config in configs]
    try:
        yield
    finally:
        for config, values in zip(configs, kept, strict=True):
            vars(config).clear()
            vars(config).update(values)
