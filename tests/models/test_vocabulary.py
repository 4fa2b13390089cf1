"""The map between a trimmed vocabulary and the teacher's: mass is moved, and a file keeps it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from potstill.models.vocabulary import VocabularyMap


@st.composite
def maps(draw: st.DrawFn) -> VocabularyMap:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width, padding = draw(st.integers(1, 30)), draw(st.integers(0, 4))
    kept = draw(st.integers(1, width))
    teacher_ids = rng.choice(width, kept, replace=False)
    student_ids = np.full(width + padding, -1)
    student_ids[:width] = rng.integers(0, kept, width)
    student_ids[teacher_ids] = np.arange(kept)
    return VocabularyMap(torch.from_numpy(teacher_ids), torch.from_numpy(student_ids))


@given(vocabulary=maps(), spare=st.integers(0, 3), rows=st.integers(0, 4))
def test_every_token_s_probability_goes_to_its_receiver(
    vocabulary: VocabularyMap, spare: int, rows: int
) -> None:
    generator = torch.Generator().manual_seed(rows + 7 * spare)
    size = len(vocabulary.teacher_ids_K)
    p_NV = torch.rand(rows, len(vocabulary.student_ids_V), generator=generator).double()
    p_NV[:, vocabulary.student_ids_V < 0] = 0
    found = vocabulary.probabilities(p_NV, size + spare)
    expected = torch.zeros(rows, size + spare).double()
    for token, receiver in enumerate(vocabulary.student_ids_V.tolist()):
        if receiver >= 0:
            expected[:, receiver] += p_NV[:, token]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(-1), p_NV.sum(-1))


@given(vocabulary=maps())
def test_a_token_is_kept_removed_or_padding(vocabulary: VocabularyMap) -> None:
    kept = set(vocabulary.teacher_ids_K.tolist())
    removed = vocabulary.removed_R.tolist()
    padding = {v for v, s in enumerate(vocabulary.student_ids_V.tolist()) if s < 0}
    assert removed == sorted(removed)
    assert kept | set(removed) | padding == set(range(len(vocabulary.student_ids_V)))
    assert len(kept) + len(removed) + len(padding) == len(vocabulary.student_ids_V)
    assert torch.nonzero(vocabulary.kept_V).flatten().tolist() == sorted(kept)


def test_a_file_keeps_both_directions(tmp_path: Path) -> None:
    vocabulary = VocabularyMap(torch.tensor([4, 0, 2]), torch.tensor([1, 0, 2, 2, 0, -1]))
    path = tmp_path / "vocabulary.safetensors"
    vocabulary.save(path)
    again = VocabularyMap.load(path)
    assert torch.equal(again.teacher_ids_K, vocabulary.teacher_ids_K)
    assert torch.equal(again.student_ids_V, vocabulary.student_ids_V)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
