"""Reading text in batches of like length: nothing is lost, mixed up or seen through padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from potstill.models.load import body_of, load
from potstill.models.score import (
    length_batches,
    padded,
    read_in_batches,
    response_hidden,
    shared_beginning,
)

LENGTHS = st.lists(st.integers(1, 60), max_size=30)


@given(lengths=LENGTHS, batch_tokens=st.integers(1, 200))
def test_batches_hold_every_row_once_and_no_more_than_fits(
    lengths: list[int], batch_tokens: int
) -> None:
    batches = length_batches(lengths, batch_tokens)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        widest = max(lengths[i] for i in batch)
        # A row that is too long by itself is read alone.
        assert len(batch) == 1 or widest * len(batch) <= batch_tokens
    in_order = [lengths[i] for batch in batches for i in batch]
    assert in_order == sorted(lengths, reverse=True)


@given(lengths=LENGTHS, batch_tokens=st.integers(1, 200))
def test_no_batch_could_have_taken_the_next_row(lengths: list[int], batch_tokens: int) -> None:
    batches = length_batches(lengths, batch_tokens)
    for batch in batches[:-1]:
        assert lengths[batch[0]] * (len(batch) + 1) > batch_tokens


@given(
    rows=st.lists(st.lists(st.integers(0, 99), max_size=9), min_size=1, max_size=5),
    fill=st.integers(0, 3),
    multiple=st.integers(1, 8),
)
def test_rows_are_filled_up_on_the_right(rows: list[list[int]], fill: int, multiple: int) -> None:
    ids_BT = padded(rows, fill, multiple)
    width = ids_BT.shape[1]
    assert width % multiple == 0
    assert width - multiple < max(map(len, rows)) <= width
    assert ids_BT.tolist() == [[*row, *[fill] * (width - len(row))] for row in rows]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_states_of_a_batch_are_those_of_each_text_alone(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    model = load(str(nano_model(family)), precision="fp32")
    generator = torch.Generator().manual_seed(2)
    pairs = [
        (
            torch.randint(5, 250, (prompt,), generator=generator).tolist(),
            torch.randint(5, 250, (response,), generator=generator).tolist(),
        )
        for prompt, response in [(4, 9), (40, 2), (3, 61), (7, 0), (12, 12)]
    ]
    found = response_hidden(model, pairs, batch_tokens=130)
    for (prompt, response), hidden_RD in zip(pairs, found, strict=True):
        with torch.inference_mode():
            whole = body_of(model.network)(input_ids=torch.tensor([[*prompt, *response]]))
        states = whole.last_hidden_state[0, len(prompt) - 1 : len(prompt) - 1 + len(response)]
        assert hidden_RD.shape == states.shape
        torch.testing.assert_close(hidden_RD, states, atol=2e-4, rtol=1e-3)


def test_batches_and_the_whole_are_the_same_bit_by_bit(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    pairs = [([5 + i, 6], [7 + (i * j) % 200 for j in range(1 + 9 * i)]) for i in range(9)]
    together = response_hidden(model, pairs, batch_tokens=100)
    seen: list[int] = []
    for batch, states in read_in_batches(model, pairs, batch_tokens=100):
        seen += batch
        for i, hidden_RD in zip(batch, states, strict=True):
            assert torch.equal(hidden_RD, together[i])
    assert sorted(seen) == list(range(len(pairs)))
    assert list(read_in_batches(model, [])) == []


def test_a_batch_in_bf16_gives_bf16_states(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="bf16")
    (hidden_RD,) = response_hidden(model, [([5, 6, 7], [8, 9])])
    assert hidden_RD.dtype == torch.bfloat16
    trained = load(str(nano_llama), precision="bf16", trainable=True)
    assert next(trained.network.parameters()).dtype == torch.float32
    (cast_RD,) = response_hidden(trained, [([5, 6, 7], [8, 9])])
    assert cast_RD.dtype == torch.bfloat16
    torch.testing.assert_close(cast_RD.float(), hidden_RD.float(), atol=0.1, rtol=0.1)


def _spoken(count: int, *, system: int) -> list[tuple[list[int], list[int]]]:
    """Return texts whose prompts all begin with the same `system` tokens."""
    generator = torch.Generator().manual_seed(4)

    def some(tokens: int) -> list[int]:
        return torch.randint(5, 250, (tokens,), generator=generator).tolist()

    shared = some(system)
    # One prompt is the beginning itself: its last token predicts, and is read with the response.
    own = [0, *(1 + 3 * i for i in range(count - 1))]
    return [(shared + some(more), some(2 + more)) for more in own]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_what_all_prompts_begin_with_is_read_once(
    family: str, nano_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(str(nano_model(family)), precision="fp32")
    pairs = _spoken(9, system=20)
    alone = [response_hidden(model, [pair])[0] for pair in pairs]
    read: list[int] = []
    forward = body_of(model.network).forward
    monkeypatch.setattr(
        body_of(model.network),
        "forward",
        lambda *a, **k: read.append(k["input_ids"].numel()) or forward(*a, **k),
    )
    together = response_hidden(model, pairs, batch_tokens=60)
    for (_, response), one_RD, hidden_RD in zip(pairs, alone, together, strict=True):
        assert hidden_RD.shape == one_RD.shape == (len(response), one_RD.shape[1])
        torch.testing.assert_close(hidden_RD, one_RD, atol=2e-4, rtol=1e-3)
    # The beginning once, the longest text twice to compare, then what comes after it, padded.
    longest = max(len(p) + len(r) for p, r in pairs)
    assert read[:3] == [19, longest, longest - 19]
    assert sum(read[3:]) < sum(len(p) + len(r) for p, r in pairs)
    # The next time nothing is compared.
    del read[:]
    again = response_hidden(model, pairs, batch_tokens=60)
    assert read[0] == 19 and longest not in read
    assert all(map(torch.equal, again, together))


def test_windows_look_back_into_the_beginning(nano_model: Callable[[str], Path]) -> None:
    model = load(str(nano_model("gemma")), precision="fp32")
    window = model.network.config.sliding_window
    pairs = [(p, r * (1 + window // 4)) for p, r in _spoken(8, system=window + 4)]
    assert shared_beginning(model, pairs) is not None
    together = response_hidden(model, pairs)
    for pair, hidden_RD in zip(pairs, together, strict=True):
        (alone_RD,) = response_hidden(model, [pair])
        torch.testing.assert_close(hidden_RD, alone_RD, atol=2e-4, rtol=1e-3)


def test_a_beginning_that_a_model_reads_otherwise_is_read_with_each_text(
    nano_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(str(nano_llama), precision="fp32")
    pairs = _spoken(8, system=20)
    found = shared_beginning(model, pairs)
    assert found is not None and found.length == 19
    whole = response_hidden(model, pairs)
    assert shared_beginning(model, _spoken(8, system=6)) is None
    assert shared_beginning(model, pairs[:7]) is None
    # A network that went on as it should is not asked again about texts as long.
    model = load(str(nano_llama), precision="fp32")
    body = body_of(model.network)
    forward = body.forward
    # A body that forgets what is in the cache it is given.
    monkeypatch.setattr(
        body, "forward", lambda input_ids, **_: forward(input_ids=input_ids, use_cache=False)
    )
    assert shared_beginning(model, pairs) is None
    for one_RD, other_RD in zip(whole, response_hidden(model, pairs), strict=True):
        torch.testing.assert_close(one_RD, other_RD, atol=2e-4, rtol=1e-3)
