"""What configs forbid, force and end with is the same after trimming, or counted as dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import BertProcessing, RobertaProcessing, Sequence, TemplateProcessing
from transformers import GenerationConfig

from potstill.errors import PotstillError
from potstill.models.load import load, save
from potstill.models.loaded import LoadedModel
from potstill.shrink.choose import TokenRanking
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.token_ids import (
    dropped_ids,
    forbidden_ids,
    named_ids,
    renumbered,
    single_ids,
)
from potstill.shrink.vocabulary import choose_tokens, merges_of, trimmed_tokenizer

NEW = {0: 0, 2: 1, 5: 2, 9: 3}


@pytest.mark.parametrize(
    ("name", "old", "new", "gone"),
    [
        ("suppress_tokens", [5, 7, 9], [2, 3], 1),
        ("begin_suppress_tokens", [7], None, 1),
        ("bad_words_ids", [[5], [9, 7], [2, 9]], [[2], [1, 3]], 1),
        ("bad_words_ids", [[7]], None, 1),
        ("force_words_ids", [[5, 9], [[2], [7], [9]]], [[2, 3], [[1], [3]]], 1),
        ("forced_decoder_ids", [[1, 5], [2, None], [3, 7]], [[1, 2], [2, None]], 1),
        ("sequence_bias", [[[5, 9], -1.5], [[7], 2.0]], [[[2, 3], -1.5]], 1),
        ("sequence_bias", {(5, 9): -1.5, (7,): 2.0}, {(2, 3): -1.5}, 1),
        ("forced_eos_token_id", [5, 9], [2, 3], 0),
        ("forced_bos_token_id", 7, None, 1),
        ("eos_token_id", [9, 5], [3, 2], 0),
        ("sep_token_id", 5, 2, 0),
        ("image_token_index", 9, 3, 0),
        ("video_token_id", 7, None, 1),
        ("some_new_token_ids", (9, 5), (3, 2), 0),
        ("pad_token_id", -1, -1, 0),
        ("lang_to_id", {"a": 5, "b": 7}, {"a": 2}, 1),
    ],
)
def test_each_shape_of_field_is_renumbered(name: str, old: Any, new: Any, gone: int) -> None:
    changed, dropped = renumbered({name: old}, NEW)
    assert changed == {name: new}
    assert dropped == ({name: gone} if gone else {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 5),
        ("num_assistant_tokens", 9),
        ("codec_eos_token_id", 5),
        ("codebook_pad_token_id", 9),
        ("layer_ids", [5, 9]),
        ("vocab_size", 9),
        ("eos_token_id", None),
        ("use_cache", True),
    ],
)
def test_what_is_no_id_of_the_text_stays(name: str, value: Any) -> None:
    assert renumbered({name: value}, NEW) == ({}, {})
    assert single_ids({name: value}) == set()


def test_ids_that_must_stay_are_told_from_those_that_forbid() -> None:
    fields = {
        "eos_token_id": [2, 5],
        "forced_bos_token_id": 9,
        "suppress_tokens": [7, 8],
        "bad_words_ids": [[3, 8]],
        "sequence_bias": {(4,): 1.0},
        "pad_token_id": -1,
    }
    assert single_ids(fields) == {2, 5, 9}
    assert forbidden_ids(fields) == [7, 8, 3, 4]


@pytest.fixture(scope="module")
def teacher(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), precision="fp32")


@pytest.fixture
def asked(teacher: LoadedModel) -> Any:
    """Set generation fields of the teacher for one test."""
    before = teacher.network.generation_config

    def set_fields(**fields: Any) -> LoadedModel:
        values = {**before.to_dict(), **fields}
        teacher.network.generation_config = GenerationConfig.from_dict(values)
        return teacher

    yield set_fields
    teacher.network.generation_config = before


def forbidden_texts(tokenizer: Any, generation: Any) -> set[str]:
    single = [[i] for i in generation.suppress_tokens or []]
    return {tokenizer.decode(ids) for ids in (*single, *(generation.bad_words_ids or []))}


def test_a_trimmed_student_forbids_the_words_that_its_teacher_forbids(
    asked: Any, tmp_path: Path
) -> None:
    """The row of the issue: 330 tokens, and ids that are beyond them."""
    teacher = asked(suppress_tokens=[300, 420], bad_words_ids=[[303], [410, 415]])
    weight_V = torch.arange(len(teacher.tokenizer)).flip(0).float()
    kept = TokenRanking(teacher, weight_V).kept(330)
    student, _ = pruned(teacher, Cut((), kept))
    assert len(kept) == 330
    mine, theirs = student.network.generation_config, teacher.network.generation_config
    assert mine.suppress_tokens != theirs.suppress_tokens
    assert forbidden_texts(student.tokenizer, mine) == forbidden_texts(teacher.tokenizer, theirs)
    assert dropped_ids(teacher.network, {old: new for new, old in enumerate(kept)}) == {}
    save(student, tmp_path / "student")
    written = json.loads((tmp_path / "student" / "generation_config.json").read_text())
    assert written["suppress_tokens"] == mine.suppress_tokens
    assert written["bad_words_ids"] == mine.bad_words_ids


def test_tokens_that_are_gone_take_their_entries_along_and_are_counted(asked: Any) -> None:
    teacher = asked(
        suppress_tokens=[300, 440, 445], bad_words_ids=[[303], [305, 441]], forced_bos_token_id=446
    )
    kept = tuple(choose_tokens(merges_of(teacher.tokenizer), -torch.arange(448.0), 330))
    assert not {440, 441, 445, 446} & set(kept)
    student, _ = pruned(teacher, Cut((), kept))
    mine = student.network.generation_config
    assert [kept[i] for i in mine.suppress_tokens] == [300]
    assert [[kept[i] for i in ids] for ids in mine.bad_words_ids] == [[303]]
    assert mine.forced_bos_token_id is None
    assert dropped_ids(teacher.network, {old: new for new, old in enumerate(kept)}) == {
        "generation_config.suppress_tokens": 2,
        "generation_config.bad_words_ids": 1,
        "generation_config.forced_bos_token_id": 1,
    }


def test_what_a_config_forces_stays_and_so_do_the_ends(asked: Any) -> None:
    teacher = asked(forced_bos_token_id=446, eos_token_id=[2, 444])
    assert {2, 444, 446} <= named_ids(teacher.network).must
    kept = TokenRanking(teacher, -torch.arange(448.0)).kept(330)
    assert {2, 444, 446} <= set(kept)
    student, _ = pruned(teacher, Cut((), kept))
    mine = student.network.generation_config
    assert kept[mine.forced_bos_token_id] == 446
    assert [kept[i] for i in mine.eos_token_id] == [2, 444]


def test_so_many_forbidden_words_that_no_others_fit_are_dropped(asked: Any) -> None:
    teacher = asked(suppress_tokens=list(range(340, 440)))
    kept = TokenRanking(teacher, -torch.arange(448.0)).kept(330)
    student, _ = pruned(teacher, Cut((), kept))
    theirs = {i for i in range(340, 440) if i in set(kept)}
    assert {kept[i] for i in student.network.generation_config.suppress_tokens or []} == theirs
    assert len(theirs) < 50


def test_an_end_that_is_gone_is_refused_by_number(asked: Any) -> None:
    teacher = asked()
    kept = tuple(i for i in range(448) if i != teacher.eos_ids[0])
    with pytest.raises(PotstillError, match=f"token {teacher.eos_ids[0]} ends"):
        pruned(teacher, Cut((), kept))


def test_the_config_and_its_text_config_are_renumbered(teacher: LoadedModel) -> None:
    config = teacher.network.config
    kept = tuple(choose_tokens(merges_of(teacher.tokenizer), torch.arange(448.0), 330))
    before = dict(vars(config))
    try:
        config.image_token_id, config.sep_token_id = kept[-1], kept[-2]
        config.suppress_tokens = [kept[-3]]
        student, _ = pruned(teacher, Cut((), kept))
    finally:
        vars(config).clear()
        vars(config).update(before)
    mine = student.network.config
    assert (mine.image_token_id, mine.sep_token_id) == (329, 328)
    assert mine.suppress_tokens == [327]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_drawn_words_that_were_forbidden_are_never_said(
    teacher: LoadedModel, data: st.DataObject
) -> None:
    """Plain `generate` of the trimmed student stays clear of what its teacher is forbidden."""
    ids = st.lists(st.integers(3, 447), min_size=1, max_size=6, unique=True)
    suppressed = data.draw(ids)
    words = data.draw(st.lists(st.lists(st.integers(3, 447), min_size=1, max_size=3), max_size=4))
    before = teacher.network.generation_config
    values = {**before.to_dict(), "suppress_tokens": suppressed, "bad_words_ids": words or None}
    teacher.network.generation_config = GenerationConfig.from_dict(values)
    try:
        weight_V = torch.rand(448, generator=torch.Generator().manual_seed(suppressed[0]))
        kept = TokenRanking(teacher, weight_V).kept(340)
        student, _ = pruned(teacher, Cut((), kept))
    finally:
        teacher.network.generation_config = before
    mine = student.network.generation_config
    new_ids = {old: new for new, old in enumerate(kept)}
    assert {kept[i] for i in mine.suppress_tokens or []} == set(suppressed) & set(kept)
    still = [word for word in words if set(word) <= set(kept)]
    assert [[kept[i] for i in word] for word in mine.bad_words_ids or []] == still
    prompt = torch.tensor([[new_ids[i] for i in (1, 50, 60)]])
    said = student.network.generate(
        prompt, max_new_tokens=12, do_sample=True, attention_mask=torch.ones_like(prompt)
    )[0, 3:].tolist()
    assert not {kept[i] for i in said} & set(suppressed)
    for word in still:
        if len(word) == 1:
            assert word[0] not in {kept[i] for i in said}


def test_added_tokens_that_merges_make_stay_too(teacher: LoadedModel, tmp_path: Path) -> None:
    """As Gemma's runs of newlines: in the merges and among the added tokens."""
    save(teacher, tmp_path)
    file = tmp_path / "tokenizer.json"
    description = json.loads(file.read_text(encoding="utf-8"))
    token = next(t for t, i in description["model"]["vocab"].items() if i == 445)
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    description["added_tokens"].append({"id": 445, "content": token, "special": False, **flags})
    file.write_text(json.dumps(description), encoding="utf-8")
    whole = load(str(tmp_path), precision="fp32").tokenizer
    kept = choose_tokens(merges_of(whole), -torch.arange(448.0), 330)
    assert 445 in kept
    small = trimmed_tokenizer(whole, kept)
    assert small.added_tokens_decoder[kept.index(445)].content == token


@pytest.mark.parametrize("form", ["template", "bert", "roberta", "sequence"])
def test_post_processors_write_the_same_tokens(nano_llama: Path, form: str) -> None:
    whole = load(str(nano_llama), precision="fp32").tokenizer
    start, end = "<|im_start|>", "<|im_end|>"
    pairs = ((end, 2), (start, 1))
    template = TemplateProcessing(single=f"{start} $A {end}", special_tokens=[(start, 1), (end, 2)])
    whole.backend_tokenizer.post_processor = {
        "template": template,
        "bert": BertProcessing(*pairs),
        "roberta": RobertaProcessing(*pairs, trim_offsets=False, add_prefix_space=False),
        "sequence": Sequence([template]),
    }[form]
    # Numbers that move, so that an old number would name another token.
    kept = [i for i in choose_tokens(merges_of(whole), -torch.arange(448.0), 330) if i]
    description = json.loads(whole.backend_tokenizer.to_str())
    assert description["post_processor"]
    small = trimmed_tokenizer(whole, [*kept[2:], *kept[:2], 0])
    ids = small("the fox")["input_ids"]
    assert small.convert_ids_to_tokens(ids)[0] == start
    assert small.convert_ids_to_tokens(ids)[-1] == end
    assert small.backend_tokenizer.token_to_id(start) != 1


def test_numbers_with_gaps_are_refused(teacher: LoadedModel, tmp_path: Path) -> None:
    class Gapped:
        backend_tokenizer = teacher.tokenizer.backend_tokenizer
        all_special_ids = (500,)

        def __len__(self) -> int:
            return 448

    with pytest.raises(PotstillError, match="numbers with gaps"):
        merges_of(Gapped())
