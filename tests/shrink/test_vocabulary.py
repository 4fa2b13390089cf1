"""A trimmed vocabulary reads what it kept as before, and everything else in smaller pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nano_text
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE, Unigram
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from potstill.errors import PotstillError
from potstill.models.alignment import Alignment
from potstill.models.load import load, save
from potstill.models.vocabulary import VocabularyMap
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.vocabulary import (
    Merges,
    choose_tokens,
    map_of,
    merges_of,
    removal_cost,
    trimmed_tokenizer,
    unseen_counts,
)

KEPT = 330


@pytest.fixture(scope="module")
def trimmed(nano_llama: Path) -> tuple[Any, Any, list[int], VocabularyMap]:
    teacher = load(str(nano_llama), precision="fp32")
    merges = merges_of(teacher.tokenizer)
    weight = torch.zeros(len(teacher.tokenizer))
    for prompt in nano_text.prompts()[:40]:
        for token in teacher.tokenizer(prompt)["input_ids"]:
            weight[token] += 1
    kept = choose_tokens(merges, weight, KEPT)
    small = trimmed_tokenizer(teacher.tokenizer, kept)
    width = teacher.network.get_output_embeddings().weight.shape[0]
    return teacher.tokenizer, small, kept, map_of(teacher.tokenizer, small, kept, width)


def test_kept_tokens_are_closed_under_merges(trimmed: Any) -> None:
    whole, small, kept, _ = trimmed
    merges = merges_of(whole)
    assert len(kept) == len(small) <= KEPT
    assert merges.closed(kept) == set(kept)
    assert merges.base() <= set(kept)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_survives_the_round_trip(trimmed: Any, text: str) -> None:
    whole, small, _, _ = trimmed
    ids = small(text, add_special_tokens=False)["input_ids"]
    expected = whole.decode(whole(text, add_special_tokens=False)["input_ids"])
    assert small.decode(ids) == expected


def test_text_whose_tokens_survive_is_read_as_before(trimmed: Any) -> None:
    whole, small, kept, vocabulary = trimmed
    alignment = Alignment.of(whole, small, vocabulary)
    read = 0
    for text in nano_text.prompts():
        ids = whole(text)["input_ids"]
        if set(ids) <= set(kept):
            read += 1
            assert alignment.to_teacher(small(text)["input_ids"]) == tuple(ids)
    assert read > 10


def test_a_removed_token_becomes_its_pieces(trimmed: Any) -> None:
    whole, small, kept, vocabulary = trimmed
    alignment = Alignment.of(whole, small, vocabulary)
    removed = [t for t in range(len(whole)) if t not in set(kept)]
    assert removed
    for token in removed:
        pieces = alignment.to_student([token])
        assert len(pieces) > 1
        assert small.decode(list(pieces)) == whole.decode([token])
        assert int(vocabulary.student_ids_V[token]) == pieces[0]


def test_moved_mass_is_all_there(trimmed: Any) -> None:
    whole, small, kept, vocabulary = trimmed
    p = torch.softmax(torch.randn(5, len(vocabulary.student_ids_V)).double(), dim=-1)
    p[:, len(whole) :] = 0
    moved = vocabulary.probabilities(p, len(small) + 3)
    assert torch.allclose(moved.sum(-1), p.sum(-1))
    assert not moved[:, len(small) :].any()
    assert torch.equal(vocabulary.student_ids_V[kept], torch.arange(len(kept)))


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_a_trimmed_student_gives_the_kept_tokens_their_old_logits(
    family: str, nano_model: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = load(str(nano_model(family)), precision="fp32")
    merges = merges_of(teacher.tokenizer)
    kept = choose_tokens(merges, torch.arange(len(teacher.tokenizer)).flip(0).float(), 400)
    student, vocabulary = pruned(teacher, Cut((), tuple(kept)))
    assert vocabulary is not None
    ids = torch.randint(0, len(kept), (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        mine = student.network(ids).logits
        theirs = teacher.network(vocabulary.teacher_ids_K[ids]).logits
    assert torch.allclose(mine, theirs[..., vocabulary.teacher_ids_K], atol=1e-4)
    assert student.network.config.eos_token_id == student.tokenizer.eos_token_id
    assert student.tokenizer.eos_token == teacher.tokenizer.eos_token
    assert student.tokenizer.chat_template == teacher.tokenizer.chat_template
    save(student, tmp_path / "student")
    again = load(str(tmp_path / "student"), precision="fp32")
    assert again.eos_ids == student.eos_ids
    assert again.tokenizer("Hi there")["input_ids"] == student.tokenizer("Hi there")["input_ids"]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_a_trimmed_tokenizer_is_whole_after_a_reload(
    family: str, nano_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """It reads the job's text without loss, and special tokens stay one token each."""
    whole = load(str(nano_model(family)), precision="fp32").tokenizer
    merges = merges_of(whole)
    kept = choose_tokens(merges, torch.ones(len(whole)), len(merges.base()) + 30)
    trimmed_tokenizer(whole, kept).save_pretrained(tmp_path)
    small = AutoTokenizer.from_pretrained(tmp_path)
    assert len(small) == len(kept)
    assert small.special_tokens_map == whole.special_tokens_map
    assert small.chat_template == whole.chat_template
    for special in whole.get_added_vocab():
        ids = small(special, add_special_tokens=False)["input_ids"]
        assert small.convert_ids_to_tokens(ids) == [special]
    for prompt, answer in nano_text.exchanges(60, seed=3):
        text = f"{prompt}\n{answer}"
        if whole.chat_template:
            messages = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": answer},
            ]
            text = whole.apply_chat_template(messages, tokenize=False)
            assert small.apply_chat_template(messages, tokenize=False) == text
        ids = small(text, add_special_tokens=False)["input_ids"]
        assert small.decode(ids, clean_up_tokenization_spaces=False) == text


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer as Llama 2's and Gemma's: characters, and bytes for all others."""
    letters = "▁abcdefghijklmnopqrstuvwxyz"
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    merges = [("▁", "c"), ("a", "t"), ("▁c", "at"), ("s", "a"), ("sa", "t"), ("▁", "t")]
    made = [left + right for left, right in merges]
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *letters, *made]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    bpe = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def test_bytes_stay_for_what_has_no_token() -> None:
    whole = byte_fallback_tokenizer()
    merges = merges_of(whole)
    weight = torch.zeros(len(whole))
    weight[whole.convert_tokens_to_ids("▁cat")] = 1
    kept = choose_tokens(merges, weight, len(merges.base()) + 3)
    small = trimmed_tokenizer(whole, kept)
    pieces = set(small.get_vocab())
    assert {f"<0x{i:02X}>" for i in range(256)} <= pieces
    assert {"▁cat", "▁c", "at"} <= pieces
    assert "sat" not in pieces
    for text in (" cat sat", " the ☂ née\n\tend", "\x00"):
        ids = small(text, add_special_tokens=False)["input_ids"]
        assert small.unk_token_id not in ids
        assert small.decode(ids, clean_up_tokenization_spaces=False) == text
    vocabulary = map_of(whole, small, kept, len(whole))
    removed = whole.convert_tokens_to_ids("sat")
    assert small.convert_ids_to_tokens(int(vocabulary.student_ids_V[removed])) == "s"


def test_too_few_tokens_are_refused(nano_llama: Path) -> None:
    merges = merges_of(load(str(nano_llama), precision="fp32").tokenizer)
    with pytest.raises(PotstillError, match="ask for more"):
        choose_tokens(merges, torch.zeros(merges.size), 10)


def test_other_tokenizers_are_refused() -> None:
    @cache
    def unigram() -> PreTrainedTokenizerFast:
        model = Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -2.0)], unk_id=0)
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))

    with pytest.raises(PotstillError, match="works on BPE tokenizers, and this one is Unigram"):
        merges_of(unigram())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(3, 12), st.integers(0, 10_000))
def test_the_cost_of_losing_a_token_is_what_its_receiver_lacks(
    rows: int, width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    p_NV = torch.softmax(4 * torch.randn(rows, width, generator=generator), dim=-1)
    first_V = torch.randint(0, width, (width,), generator=generator)
    cost_V = removal_cost(p_NV, first_V)
    for v in range(width):
        expected = 0.0
        for n in range(rows):
            p, f = float(p_NV[n, v]), float(p_NV[n, int(first_V[v])])
            expected += p * math.log((f + p) / f)
        assert float(cost_V[v]) == pytest.approx(expected, rel=1e-4, abs=1e-7)


@given(st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_unseen_tokens_are_expected_as_often_as_others_stood_once(counts: list[int]) -> None:
    # Tokens 9, 4, 7, 11 and 6 come of merges, in this order; the others of none.
    merges = Merges({t: [(0, 1)] for t in (9, 4, 7, 11, 6)}, 12)
    shares = {t: 1 / (rank + 1000) for rank, t in enumerate(merges.parts) if counts[t] == 0}
    once = counts.count(1)
    expected = [once * shares.get(t, 0.0) / (sum(shares.values()) or 1.0) for t in range(12)]
    assert unseen_counts(merges, torch.tensor(counts)).tolist() == pytest.approx(expected)


def test_of_tokens_that_the_text_lacks_early_merges_stay(trimmed: Any) -> None:
    merges = merges_of(trimmed[0])
    count_V = torch.zeros(merges.size, dtype=torch.long)
    count_V[list(merges.parts)[-1]] = 1
    kept = choose_tokens(merges, count_V + unseen_counts(merges, count_V), KEPT)
    expected = merges.base() | merges.closed([list(merges.parts)[-1]])
    early = [t for t in merges.parts if t not in expected][: KEPT - len(expected)]
    assert sorted(expected | set(early)) == kept


def test_a_first_part_without_probability_keeps_the_cost_finite() -> None:
    p_NV = torch.tensor([[0.0, 1.0]])
    cost_V = removal_cost(p_NV, torch.tensor([0, 0]))
    assert torch.isfinite(cost_V).all()
    assert cost_V[0] == 0
    assert cost_V[1] > 50


def test_a_merged_token_falls_to_its_left_part(nano_llama: Path) -> None:
    tokenizer = load(str(nano_llama), precision="fp32").tokenizer
    merges = merges_of(tokenizer)
    first_V = merges.first_parts(len(tokenizer) + 3)
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    for token, first in enumerate(first_V.tolist()):
        if token in merges.parts:
            assert pieces[token].startswith(pieces[first])
            assert first != token
        else:
            assert first == token
