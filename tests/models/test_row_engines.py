"""Rows read by plain blocks and by a network's modules, against its forward over whole texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import family_models
from potstill.errors import PotstillError
from potstill.models.cohorts import CohortRows, common_beginning
from potstill.models.load import body_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.plain_body import PlainBody
from potstill.models.row_engines import (
    DecodedRows,
    ModuleRows,
    agrees,
    plain_body,
    rows_of,
)

# Families that have other parts, or the same ones put together in another way.
BY_MODULES = {
    "Mixtral",
    "Gemma 2",
    "Phi-3",
    "Phi-2",
    "GPT-NeoX",
    "OLMo 2",
    "SmolLM3",
    "Cohere",
    "StarCoder2",
    "StableLM",
    "EXAONE 4",
}
WINDOWS = {"Mistral", "Gemma 2", "Gemma 3"}


def family(name: str, nano_llama: Path, directory: Path) -> LoadedModel:
    # SmolLM3 rotates nothing in every fourth block.
    changed: dict[str, Any] = {"num_hidden_layers": 4 if name == "SmolLM3" else 3}
    if name in WINDOWS:
        changed["sliding_window"] = 6
    if name in {"Gemma 2", "Gemma 3"}:
        sliding, full = "sliding_attention", "full_attention"
        changed["layer_types"] = [sliding, full, sliding]
    path = family_models.write(name, nano_llama, directory / "model", **changed)
    return load(str(path), precision="fp32")


def texts(same: int, seed: int = 5) -> list[list[int]]:
    """Texts that begin with the same ids; the last 4 of each are written, not read."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(5, 200, (same,), generator=generator).tolist()
    lengths = [5, 16, 9, 7, 12]
    return [[*first, *torch.randint(5, 200, (n,), generator=generator).tolist()] for n in lengths]


def own_states(model: LoadedModel, ids: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        output = body_of(model.network)(input_ids=torch.tensor([list(ids)]), use_cache=False)
    return output.last_hidden_state[0]


def require_own(model: LoadedModel, rows: DecodedRows, whole: Sequence[Sequence[int]]) -> None:
    """Admit three, write two tokens, drop one, admit two more, drop one, write to the end."""
    at = [len(ids) - 4 for ids in whole]
    expected = [own_states(model, ids) for ids in whole]

    def require(which: Sequence[int], hidden: Tensor) -> None:
        for n, hidden_D in zip(which, hidden, strict=True):
            assert torch.allclose(hidden_D, expected[n][at[n] - 1], atol=2e-4, rtol=1e-3)

    def step() -> None:
        tokens = torch.tensor([whole[n][at[n]] for n in there])
        for n in there:
            at[n] += 1
        require(there, rows.step(tokens))

    with torch.inference_mode():
        there = [1, 4, 0]
        require(there, rows.admit([whole[n][: at[n]] for n in there]))
        step()
        step()
        there = [there[b] for b in rows.drop([0])]
        assert sorted(there) == [0, 4]
        require([2, 3], rows.admit([whole[n][: at[n]] for n in (2, 3)]))
        there += [2, 3]
        step()
        there = [there[b] for b in rows.drop([there.index(4)])]
        assert sorted(there) == [0, 2, 3]
        step()


@pytest.mark.parametrize("name", list(family_models.FAMILIES))
def test_states_are_those_of_the_networks_own_forward(
    name: str, nano_llama: Path, tmp_path: Path
) -> None:
    model = family(name, nano_llama, tmp_path)
    body = plain_body(model)
    assert (body is None) == (name in BY_MODULES)
    for same in (0, 7):
        whole = texts(same)
        prompts = [ids[:-4] for ids in whole]
        if body is not None:
            rows = CohortRows(body, prompts, room=4)
            assert rows.shared.count == (same if name not in WINDOWS else 0)
            require_own(model, rows, whole)
        require_own(model, ModuleRows(model, 5, max(map(len, whole))), whole)


def test_a_window_that_a_network_does_not_know_hides_nothing(
    nano_llama: Path, tmp_path: Path
) -> None:
    """Configs of Llama's kind carry one along from what they were made of."""
    path = family_models.write("Llama", nano_llama, tmp_path / "model", sliding_window=4)
    model = load(str(path), precision="fp32")
    body, whole = plain_body(model), texts(3)
    assert body is not None
    assert set(body.windows) == {None}
    require_own(model, CohortRows(body, [ids[:-4] for ids in whole], room=4), whole)
    require_own(model, ModuleRows(model, 5, max(map(len, whole))), whole)


def test_what_begins_far_behind_the_first_tokens_is_found_out(
    nano_llama: Path, tmp_path: Path
) -> None:
    """Ministral 3 scales its queries from a position on."""
    model = family("Llama", nano_llama, tmp_path)
    body = plain_body(model)
    assert body is not None

    for layer in body_of(model.network).layers:
        attention, own = layer.self_attn, layer.self_attn.forward

        def scaled(*args: Any, own: Any = own, attention: Any = attention, **named: Any) -> Any:
            far = named.get("position_ids")
            plain = attention.scaling
            attention.scaling *= 1.3 if far is not None and int(far.max()) > 128 else 1.0
            try:
                return own(*args, **named)
            finally:
                attention.scaling = plain

        attention.forward = scaled
    assert not agrees(model, body)


def test_a_network_that_cannot_be_read_token_by_token_is_refused(
    nano_llama: Path, tmp_path: Path
) -> None:
    """Bloom's positions are a bias that slots do not keep."""
    path = family_models.write("Bloom", nano_llama, tmp_path / "model")
    model = load(str(path), precision="fp32")
    with pytest.raises(PotstillError, match=r"cannot write with .*Bloom.*teacher\.endpoint"):
        rows_of(model, [[5, 6, 7]], slots=1, room=4)


def test_blocks_that_do_more_than_their_parts_say_are_found_out(
    nano_llama: Path, tmp_path: Path
) -> None:
    """Granite has Llama's parts and scales what they write."""
    model = family("Granite", nano_llama, tmp_path)
    model.network.config.residual_multiplier = 0.8
    for layer in body_of(model.network).layers:
        layer.residual_multiplier = 0.8
    body = PlainBody.of(model.network)
    assert body is not None
    assert not agrees(model, body)


def test_what_all_prompts_begin_with_leaves_each_a_token_of_its_own() -> None:
    assert common_beginning([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 9]]) == 2
    assert common_beginning([[1, 2], [1, 2, 3]]) == 1
    assert common_beginning([[4, 5, 6], [4, 5, 6]]) == 2
    assert common_beginning([[1], [1, 2]]) == 0
