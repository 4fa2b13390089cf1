"""What channels and heads contributed is folded into those that are left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shrink_text import text

from potstill.models.load import blocks_of, load
from potstill.models.parts import attention_of, feed_forward_of
from potstill.shrink.cut import Cut
from potstill.shrink.fold import fold_width, folded
from potstill.shrink.making import pruned
from potstill.shrink.streams import TeacherStream, calibration_batches


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 8), st.integers(1, 4), st.data())
def test_the_fold_is_ridge_regression_on_the_kept_inputs(
    seed: int, features: int, outputs: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    kept = sorted(
        data.draw(st.sets(st.integers(0, features - 1), min_size=1, max_size=features - 1))
    )
    x, weight = rng.normal(size=(30, features)), rng.normal(size=(outputs, features))
    pull = 0.2 * np.mean(np.sum(x[:, kept] ** 2, axis=0))
    # Ridge regression as plain least squares: rows that ask each weight to stay what it was.
    rows = np.vstack([x[:, kept], np.sqrt(pull) * np.eye(len(kept))])
    wanted = np.vstack([x @ weight.T, np.sqrt(pull) * weight[:, kept].T])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    delta = folded(torch.tensor(weight), torch.tensor(x.T @ x), kept, 0.2).numpy()
    assert np.allclose(weight[:, kept] + delta, expected, atol=1e-5)


def test_inputs_that_others_repeat_are_lost_without_a_trace() -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    x = torch.cat([x, x @ torch.tensor([[1.0], [2.0], [0.5]]).double()], dim=1)
    weight = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)).double()
    delta = folded(weight, x.T @ x, [0, 1, 2], 1e-9)
    assert torch.allclose(x[:, :3] @ (weight[:, :3] + delta).T, x @ weight.T, atol=1e-4)


def test_each_map_is_folded_by_what_the_teacher_reads(nano_qwen3: Path) -> None:
    teacher = load(str(nano_qwen3), precision="fp32")
    stream = TeacherStream(teacher, calibration_batches(teacher, text(teacher, 8)), keep=True)
    cut = Cut(channels=(tuple(range(0, 160, 2)),) * 4, kv_heads=((1,),) * 4)
    student, _ = pruned(teacher, cut)
    mine, theirs = blocks_of(student.network)[2], blocks_of(teacher.network)[2]
    parts = {
        "heads": (attention_of(mine), attention_of(theirs), range(32, 64)),
        "channels": (feed_forward_of(mine), feed_forward_of(theirs), range(0, 160, 2)),
    }
    before = {name: part[0].writer.weight.clone() for name, part in parts.items() if part[0]}
    with torch.no_grad():
        fold_width(mine, theirs, cut, 2, stream, 0.1)
    for name, (narrow, whole, kept) in parts.items():
        assert narrow is not None
        assert whole is not None
        (gram,) = stream.grams(2, [whole.writer])
        expected = before[name] + folded(whole.writer.weight, gram, list(kept), 0.1)
        assert torch.allclose(narrow.writer.weight, expected, atol=1e-6)
