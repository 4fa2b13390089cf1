"""A model in memory, as every stage sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from potstill.models.conversation import Conversation
from potstill.models.head import HeadForm


@dataclass(frozen=True)
class LoadedModel:
    """Network, tokenizer and identity.

    `network` is a transformers causal language model and `tokenizer` its fast tokenizer.
    `identity` is the digest of weights, config and tokenizer (`blake3:...`), `tokenizer_id`
    that of the tokenizer alone. `compute_dtype` is what matrix products run in; a model that
    is only asked (a teacher) holds its weights in it, one that is trained holds fp32.
    `conversation` is how it is spoken to. `eos_ids` end a response, by default where its
    conversation says so. `directory` is where its files lie, if they do. `head_form` is how its
    head reads, as its own forward showed; None takes its config's word for it. `int8` tells that
    its maps multiply bytes (`models/int8.py`), which is another distribution than its own.
    """

    network: Any
    tokenizer: Any
    identity: str
    tokenizer_id: str
    device: torch.device
    compute_dtype: torch.dtype
    conversation: Conversation
    eos_ids: tuple[int, ...]
    source: str
    directory: Path | None = None
    head_form: HeadForm | None = None
    int8: bool = False
