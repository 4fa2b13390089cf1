"""Arithmetic says how many parameters a cut leaves, as making it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from potstill.models.load import blocks_of, load
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.sizes import sizes_of
from potstill.shrink.vocabulary import choose_tokens, merges_of


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_the_count_is_the_real_one(family: str, nano_model: Callable[[str], Path]) -> None:
    teacher = load(str(nano_model(family)), precision="fp32")
    sizes = sizes_of(teacher.network)
    count = len(blocks_of(teacher.network))
    channels = (tuple(range(60)),) * count
    kv_heads = ((1,),) * count if family != "neox" else None
    merges = merges_of(teacher.tokenizer)
    tokens = tuple(choose_tokens(merges, torch.ones(len(teacher.tokenizer)), 320))
    for cut in (
        Cut(),
        Cut((1,)),
        Cut(channels=channels),
        Cut(kv_heads=kv_heads),
        Cut(kept_tokens=tokens),
        Cut((0, 2), tokens, channels, kv_heads),
    ):
        student, _ = pruned(teacher, cut)
        assert sizes.of(cut) == sum(p.numel() for p in student.network.parameters())
    assert sizes.whole == sum(p.numel() for p in teacher.network.parameters())
    assert sizes.possible_kv_heads == (() if family == "neox" else (1,))
