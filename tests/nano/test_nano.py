"""The nano models are what other tests take them for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nano_models
import nano_text
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FAMILIES = sorted(nano_models.FAMILIES)


@pytest.fixture(params=FAMILIES)
def loaded(request, nano_model: Callable[[str], Path]):
    directory = nano_model(request.param)
    network = AutoModelForCausalLM.from_pretrained(directory)
    return network, AutoTokenizer.from_pretrained(directory), directory


def _loss(network, tokenizer, count: int = 40) -> float:
    total, tokens = 0.0, 0
    for pair in nano_text.exchanges(count, seed=99):
        ids_T = torch.tensor(nano_models.chat_ids(tokenizer, *pair))
        with torch.no_grad():
            logp_TV = network(ids_T[None]).logits[0, :-1].log_softmax(-1)
        total -= logp_TV.gather(1, ids_T[1:, None]).sum().item()
        tokens += len(ids_T) - 1
    return total / tokens


def test_is_trained_but_not_certain(loaded):
    network, tokenizer, _ = loaded
    assert 0.1 < _loss(network, tokenizer) < 0.9  # an untrained one has about 6


def test_every_layer_matters(loaded):
    network, tokenizer, _ = loaded
    whole = _loss(network, tokenizer)
    layers = getattr(network.base_model, "layers", None)
    for index in range(len(layers)):
        down = [p for n, p in layers[index].named_parameters() if n.endswith("weight")]
        kept = [p.detach().clone() for p in down]
        with torch.no_grad():
            for p in down:
                p.zero_()
        assert _loss(network, tokenizer, 12) > whole + 0.01, f"layer {index} does nothing"
        with torch.no_grad():
            for p, old in zip(down, kept, strict=True):
                p.copy_(old)


def test_answers_and_stops(loaded):
    network, tokenizer, _ = loaded
    prompts = [p for p, _ in nano_text.exchanges(12, seed=5)]
    stopped = 0
    for prompt in prompts:
        ids = nano_models.chat_ids(tokenizer, prompt, "")[:-1]
        out = network.generate(torch.tensor([ids]), max_new_tokens=120, do_sample=False)
        stopped += int(out[0, -1] == tokenizer.eos_token_id)
    assert stopped >= 10


def test_tokenizer_is_lossless_and_pad_is_not_eos(loaded):
    _, tokenizer, _ = loaded
    text = "The fox's naïve plan: 12 + 3 = 15 ☂.\n  ok?"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_directory_states_a_licence(loaded):
    directory = loaded[2]
    assert "license: apache-2.0" in (directory / "README.md").read_text()
    assert list(directory.glob("*.safetensors"))


def test_the_peculiarities_are_there(nano_model):
    def config(family: str) -> dict:
        return json.loads((nano_model(family) / "config.json").read_text())

    assert config("llama")["num_hidden_layers"] == 6 and config("llama")["tie_word_embeddings"]
    assert len(AutoTokenizer.from_pretrained(nano_model("qwen3"))) == 490
    assert config("qwen3")["vocab_size"] == 512
    assert AutoTokenizer.from_pretrained(nano_model("neox")).chat_template is None
    assert config("gemma")["final_logit_softcapping"] == 20.0
    assert "sliding_attention" in config("gemma")["layer_types"]


def test_building_twice_gives_the_same_weights(tmp_path):
    first = nano_models.build("llama", tmp_path / "a", steps=3)
    second = nano_models.build("llama", tmp_path / "b", steps=3)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_prompts_are_distinct(nano_prompts):
    rows = [json.loads(line)["prompt"] for line in nano_prompts.read_text().splitlines()]
    assert len(rows) == len(set(rows)) > 300
