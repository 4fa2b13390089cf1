"""Heads read as the networks' own forwards show, or refused by the architecture's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from potstill.errors import PotstillError
from potstill.models.head import Head, HeadForm
from potstill.models.head_form import TOLERANCE, learnt_form, stated_form
from potstill.models.load import head_of, load, save, trainable_copy

TOKENS = 448
_SHAPE: dict[str, Any] = {
    "vocab_size": TOKENS + 8,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SHAPE, "num_key_value_heads": 2}
_EXPERTS = {**_GROUPED, "num_experts_per_tok": 2, "num_local_experts": 4, "num_experts": 4}
_LATENT = {
    **_SHAPE,
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
_OPT = {"word_embed_proj_dim": 16, "ffn_dim": 48}
_XLSTM = {**_SHAPE, "num_heads": 4, "output_logit_soft_cap": 3.0}
_FALCON = {"head_dim": 8, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8}

# Architecture, its config, and how it reads its head.
READ: list[tuple[str, dict[str, Any], HeadForm]] = [
    ("Llama", _GROUPED, HeadForm()),
    ("Qwen2", _GROUPED, HeadForm()),
    ("Qwen3", {**_GROUPED, "head_dim": 8}, HeadForm()),
    ("Qwen3Moe", {**_EXPERTS, "moe_intermediate_size": 16}, HeadForm()),
    ("Mistral", _GROUPED, HeadForm()),
    ("Mixtral", _EXPERTS, HeadForm()),
    ("Olmo2", _GROUPED, HeadForm()),
    ("SmolLM3", _GROUPED, HeadForm()),
    ("Glm4", {**_GROUPED, "head_dim": 8}, HeadForm()),
    ("StableLm", _GROUPED, HeadForm()),
    ("Starcoder2", _GROUPED, HeadForm()),
    ("Nemotron", _GROUPED, HeadForm()),
    ("Phi", _SHAPE, HeadForm()),
    ("Phi3", {**_GROUPED}, HeadForm()),
    ("GPT2", _SHAPE, HeadForm()),
    ("GPTJ", {**_SHAPE, "rotary_dim": 8}, HeadForm()),
    ("GPTNeoX", _SHAPE, HeadForm()),
    ("Falcon", _SHAPE, HeadForm()),
    ("Bloom", _SHAPE, HeadForm()),
    ("Mamba", {**_SHAPE, "state_size": 8}, HeadForm()),
    ("OPT", {**_SHAPE, **_OPT}, HeadForm()),
    ("Bart", {**_SHAPE, "decoder_layers": 2, "decoder_attention_heads": 4}, HeadForm()),
    ("Gemma", {**_GROUPED, "head_dim": 8}, HeadForm()),
    ("Gemma2", {**_GROUPED, "head_dim": 8, "final_logit_softcapping": 3.0}, HeadForm(1.0, 3.0)),
    ("Gemma3", {**_GROUPED, "head_dim": 8, "final_logit_softcapping": 3.0}, HeadForm(1.0, 3.0)),
    ("RecurrentGemma", {**_SHAPE, "logits_soft_cap": 3.0}, HeadForm(1.0, 3.0)),
    ("xLSTM", _XLSTM, HeadForm(1.0, 3.0)),
    ("Cohere", {**_GROUPED, "logit_scale": 0.3}, HeadForm(0.3)),
    ("Cohere2", {**_GROUPED, "logit_scale": 0.3}, HeadForm(0.3)),
    ("Granite", {**_GROUPED, "logits_scaling": 0.5}, HeadForm(2.0)),
    ("GraniteMoe", {**_EXPERTS, "logits_scaling": 8.0}, HeadForm(0.125)),
    ("HyperCLOVAX", {**_GROUPED, "logits_scaling": 0.5}, HeadForm(0.5)),
    ("HyperCLOVAX", {**_GROUPED, "logits_scaling": 3.0}, HeadForm(3.0)),
    ("HyperCLOVAX", {**_GROUPED, "logits_scaling": 1.0}, HeadForm()),
    ("HyperCLOVAX", {**_GROUPED, "logits_scaling": 1.01}, HeadForm(1.01)),
    ("FalconH1", {**_GROUPED, **_FALCON, "lm_head_multiplier": 0.7}, HeadForm(0.7)),
    ("MiniCPM3", {**_LATENT, "dim_model_base": 8}, HeadForm(0.25)),
    # transformers reads this field of no MPT: the network's word counts.
    ("Mpt", {**_SHAPE, "d_model": 32, "n_heads": 4, "n_layers": 2, "logit_scale": 0.3}, HeadForm()),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("BertLMHeadModel", {**_SHAPE, "is_decoder": True}),
    ("RobertaForCausalLM", {**_SHAPE, "is_decoder": True}),
    ("ModernBertDecoderForCausalLM", _SHAPE),
    ("DoryForCausalLM", _GROUPED),
]


@pytest.fixture(scope="module")
def tokenizer(nano_llama: Path) -> Any:
    return AutoTokenizer.from_pretrained(nano_llama)


def built(name: str, fields: dict[str, Any]) -> Any:
    """Return a network with weights that tell: large maps and uneven vectors."""
    suffixes = ("ForCausalLM", "LMHeadModel", "")
    kind = next(k for s in suffixes if (k := getattr(transformers, name + s, None)))
    torch.manual_seed(0)
    network = kind(kind.config_class(**fields)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def form_of(network: Any, tokenizer: Any) -> HeadForm:
    return learnt_form(network, tokenizer, torch.device("cpu"), "mine")


def named(case: Any) -> str:
    return case if isinstance(case, str) else ""


@pytest.mark.parametrize(("name", "fields", "form"), READ, ids=named)
def test_the_head_is_read_as_the_network_reads_it(
    name: str, fields: dict[str, Any], form: HeadForm, tokenizer: Any
) -> None:
    network = built(name, fields)
    assert form_of(network, tokenizer) == form
    ids = torch.randint(5, TOKENS, (2, 9), generator=torch.Generator().manual_seed(1))
    output = network.get_output_embeddings()
    head = Head(output.weight, output.bias, softcap=form.softcap, scale=form.scale)
    with torch.inference_mode():
        mine = head.logits(network.base_model(ids, use_cache=False).last_hidden_state)
        theirs = network(ids, use_cache=False).logits
    assert (mine - theirs).abs().max() <= TOLERANCE * (theirs.max() - theirs.min())
    assert form_of(network.to(torch.bfloat16), tokenizer) == form


@pytest.mark.parametrize(
    ("name", "fields", "form"),
    [case for case in READ if case[0] in ("HyperCLOVAX", "Granite", "Gemma2", "MiniCPM3", "OPT")],
    ids=named,
)
def test_a_loaded_model_has_its_networks_form(
    name: str, fields: dict[str, Any], form: HeadForm, tokenizer: Any, tmp_path: Path
) -> None:
    built(name, fields).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for precision in ("fp32", "bf16"):
        model = load(str(tmp_path), device="cpu", precision=precision)
        assert model.head_form == form
        head = head_of(model)
        assert (head.scale, head.softcap, head.tokens) == (form.scale, form.softcap, TOKENS)


@pytest.mark.parametrize(("name", "fields"), REFUSED, ids=named)
def test_another_head_is_refused_by_the_architectures_name(
    name: str, fields: dict[str, Any], tokenizer: Any, tmp_path: Path
) -> None:
    built(name, fields).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for precision in ("fp32", "bf16"):
        with pytest.raises(PotstillError) as caught:
            load(str(tmp_path), device="cpu", precision=precision)
        assert f"{name}, the architecture of the model {tmp_path}:" in str(caught.value)


class Timed(LlamaForCausalLM):
    """Multiplies its logits by a number that no config states."""

    def forward(self, *args: Any, **named: Any) -> Any:
        result = super().forward(*args, **named)
        result.logits = result.logits * 2.5
        return result


class Warmed(LlamaForCausalLM):
    """Each position's logits are scaled by another number."""

    def forward(self, *args: Any, **named: Any) -> Any:
        result = super().forward(*args, **named)
        result.logits = result.logits * torch.arange(1, result.logits.shape[1] + 1)[:, None]
        return result


class Shifted(LlamaForCausalLM):
    """Prefers a token, which the output matrix does not show."""

    def forward(self, *args: Any, **named: Any) -> Any:
        result = super().forward(*args, **named)
        result.logits[..., 7] += 0.05
        return result


class Between(LlamaForCausalLM):
    """Turns its hidden states before the head."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.lm_head.register_forward_pre_hook(lambda _, args: (args[0].roll(1, -1),))


class Blind(LlamaForCausalLM):
    """Gives no logits of the last tokens."""

    def forward(self, *args: Any, **named: Any) -> Any:
        result = super().forward(*args, **named)
        result.logits = result.logits[..., : TOKENS - 1]
        return result


class Failing(LlamaForCausalLM):
    """Wants more than ids."""

    def forward(self, *args: Any, **named: Any) -> Any:
        raise KeyError("pixel_values")


def made(kind: type[LlamaForCausalLM], **fields: Any) -> Any:
    torch.manual_seed(0)
    return kind(LlamaConfig(**_GROUPED, initializer_range=0.1, **fields)).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_scale_that_no_field_states_is_measured(dtype: torch.dtype, tokenizer: Any) -> None:
    assert form_of(made(Timed).to(dtype), tokenizer) == HeadForm(2.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [Warmed, Shifted, Between, Blind, Failing])
def test_what_no_scale_and_cap_give_is_refused(
    kind: type[LlamaForCausalLM], dtype: torch.dtype, tokenizer: Any
) -> None:
    with pytest.raises(PotstillError, match=f"cannot work with {kind.__name__}, .* model mine: "):
        form_of(made(kind).to(dtype), tokenizer)


def test_a_network_that_overflows_is_named(tokenizer: Any) -> None:
    network = made(LlamaForCausalLM)
    network.model.norm.weight.data.fill_(3e38)
    with pytest.raises(PotstillError, match=r"mine .* computes values that are not finite"):
        form_of(network, tokenizer)


def test_hooks_do_not_stay(tokenizer: Any) -> None:
    for kind in (LlamaForCausalLM, Shifted):
        network = made(kind).to(torch.bfloat16)
        before = network(torch.arange(9)[None]).logits
        try:
            form_of(network, tokenizer)
        except PotstillError:
            assert kind is Shifted
        assert torch.equal(network(torch.arange(9)[None]).logits, before)
        assert network.lm_head.weight.dtype == torch.bfloat16


def test_a_head_of_nothing_takes_the_configs_word(tokenizer: Any) -> None:
    network = built("Granite", {**_GROUPED, "logits_scaling": 4.0})
    torch.nn.init.zeros_(network.lm_head.weight)
    assert form_of(network, tokenizer) == HeadForm(0.25) == stated_form(network.config)


def test_the_form_goes_with_the_model(tokenizer: Any, tmp_path: Path) -> None:
    built("HyperCLOVAX", {**_GROUPED, "logits_scaling": 0.5}).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load(str(tmp_path), device="cpu", precision="bf16")
    assert head_of(trainable_copy(model)).scale == head_of(model).scale == 0.5
    save(model, tmp_path / "again")
    again = load(str(tmp_path / "again"), device="cpu", precision="fp32", trainable=True)
    assert head_of(again).scale == 0.5
    # A model that is put together by hand has its config's word alone.
    assert head_of(replace(model, head_form=None)).scale == 2.0
