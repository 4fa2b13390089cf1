"""A text in the tokens of teacher and student: the same text, stretch by stretch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nano_text
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from potstill.errors import PotstillError
from potstill.models.alignment import Aligned, Alignment, Span, same_tokens
from potstill.models.load import load, save
from potstill.models.vocabulary import VocabularyMap
from potstill.shrink.vocabulary import choose_tokens, map_of, merges_of, trimmed_tokenizer

KEPT = 330
TEXTS = nano_text.prompts()


@pytest.fixture(scope="module")
def whole(nano_llama: Path) -> Any:
    return AutoTokenizer.from_pretrained(nano_llama)


@pytest.fixture(scope="module")
def cut(whole: Any) -> tuple[Any, VocabularyMap]:
    """A trimmed tokenizer, whose ids are in no order of the teacher's, and its map."""
    weight = torch.rand(len(whole), generator=torch.Generator().manual_seed(4))
    kept = choose_tokens(merges_of(whole), weight, KEPT)
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(5)).tolist()
    mixed = [kept[i] for i in order]
    small = trimmed_tokenizer(whole, mixed)
    return small, map_of(whole, small, mixed, len(whole))


@pytest.fixture(scope="module")
def alignments(whole: Any, cut: Any) -> dict[str, Alignment]:
    return {"same": Alignment.of(whole, whole), "trimmed": Alignment.of(whole, *cut)}


def require_spans(found: Aligned, student: Any, teacher: Any) -> None:
    """Spans lie end to end over both, and each says the same text in both."""
    student_at = teacher_at = 0
    for span in found.spans:
        assert (span.student_start, span.teacher_start) == (student_at, teacher_at)
        student_at, teacher_at = span.student_end, span.teacher_end
        ours = found.student_ids[span.student_start : span.student_end]
        theirs = found.teacher_ids[span.teacher_start : span.teacher_end]
        assert ours
        assert theirs
        assert characters(student, ours) == characters(teacher, theirs)
    assert (student_at, teacher_at) == (len(found.student_ids), len(found.teacher_ids))


def characters(tokenizer: Any, ids: Sequence[int]) -> str:
    """The tokens' own spelling: half a character has none when it is decoded."""
    return "".join(tokenizer.convert_ids_to_tokens(list(ids)))


@pytest.mark.parametrize("kind", ["same", "trimmed"])
@given(text=st.one_of(st.text(max_size=40), st.sampled_from(TEXTS)))
def test_any_text_is_the_same_in_both(
    alignments: dict[str, Alignment], whole: Any, cut: Any, kind: str, text: str
) -> None:
    student = whole if kind == "same" else cut[0]
    found = alignments[kind].tokens(text)
    assert list(found.student_ids) == student(text, add_special_tokens=False)["input_ids"]
    assert whole.decode(found.teacher_ids) == student.decode(found.student_ids)
    require_spans(found, student, whole)
    assert all(span.is_unit for span in found.spans)


@pytest.mark.parametrize("kind", ["same", "trimmed"])
@given(data=st.data())
def test_what_the_teacher_wrote_keeps_its_text(
    alignments: dict[str, Alignment], whole: Any, cut: Any, kind: str, data: st.DataObject
) -> None:
    """Any ids, not only those that a tokenizer would make of the text: a model samples others."""
    alignment, student = alignments[kind], whole if kind == "same" else cut[0]
    ids = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=20))
    found = alignment.to_student(ids)
    assert characters(student, found) == characters(whole, ids)
    beside = alignment.beside(found)
    assert beside.student_ids == found
    assert beside.teacher_ids == alignment.to_teacher(found)
    require_spans(beside, student, whole)
    # As the student reads them they are a text of both, which changes no more.
    assert alignment.to_student(beside.teacher_ids) == found


def test_tokens_that_survive_are_kept_and_others_are_cut_up(
    alignments: dict[str, Alignment], whole: Any, cut: Any
) -> None:
    alignment, vocabulary = alignments["trimmed"], cut[1]
    kept = set(vocabulary.teacher_ids_K.tolist())
    assert 0 < len(kept) < len(whole)
    assert alignment.vocabulary is vocabulary
    assert alignments["same"].vocabulary is None
    for token in range(len(whole)):
        found = alignment.to_student([token])
        assert (len(found) == 1) == (token in kept)
        assert found[0] == vocabulary.student_ids_V[token]
        if token in kept:
            assert alignment.to_teacher(found) == (token,)


@pytest.mark.parametrize("family", ["qwen3", "gemma", "neox"])
def test_another_tokenizer_is_refused_with_the_way_out(
    family: str, whole: Any, nano_model: Callable[[str], Path]
) -> None:
    other = AutoTokenizer.from_pretrained(nano_model(family))
    with pytest.raises(PotstillError) as caught:
        Alignment.of(whole, other, name="nano/other")
    assert str(caught.value) == (
        f"nano/other has another tokenizer than the teacher ({len(other)} tokens against "
        f"{len(whole)}); take a student with the teacher's tokenizer, or make one from the teacher"
    )


def test_one_token_of_another_name_is_another_tokenizer(whole: Any, nano_llama: Path) -> None:
    other = AutoTokenizer.from_pretrained(nano_llama)
    assert same_tokens(whole, other)
    assert Alignment.of(whole, other).tokens("Name a colour.").spans
    other.add_tokens(["<one more>"])
    assert not same_tokens(whole, other)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_a_student_that_was_written_and_read_again_has_its_teacher_s_tokens(
    family: str, nano_model: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = load(str(nano_model(family)), precision="fp32")
    save(teacher, tmp_path / "student")
    student = load(str(tmp_path / "student"), precision="fp32")
    found = Alignment.of(teacher.tokenizer, student.tokenizer).beside([5, 6])
    assert found == ((5, 6), (5, 6), (Span(0, 1, 0, 1), Span(1, 2, 1, 2)))


def test_a_span_is_a_unit_where_it_is_one_token_in_both() -> None:
    assert Span(3, 4, 7, 8).is_unit
    assert not Span(3, 5, 7, 8).is_unit
    assert not Span(3, 4, 7, 9).is_unit
    assert not Span(3, 5, 7, 9).is_unit
