"""Names of ways to split text, held against llama.cpp's own tokeniser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import gguf_files
import llama_server
from potstill.models.gguf_tokenizer import byte_level_tokenizer
from potstill.models.pre_tokenizers import NAMES, Splitting

NASTY = [
    *gguf_files.PASSAGES,
    "x = y;\n\nreturn foo(bar);",
    "'s 'S 'LL 'Re 'vE'd 'ſ I'm IT'S it’s rock'n'roll ''re''",
    "1 12 123 1234 12345 123456 1234567890123 1.000.000,00 ٣٤٥٦ ²³ Ⅷ ½ 12ab34 a1b2",
    " a  b   c    d\u00a0e\u3000f\u2003 g\u2028h\u0085i\x0bj\x0ck",
    "\n\n\n  \n\t\n x\r\n\r\n  y \n",
    "   ",
    "\n",
    " \n \n",
    "a\u0301e\u0301 क्षि กำ ひ゛ \u200d \u200b\ufeffx \u0301\u0301",
    "🚀🚀👩‍👩‍👧‍👦 🇩🇪 ♥️ © ™ → ∑ € £ ₿",
    "HTTPServer fooBar FooBARBaz ÀÉÎõü ßSS ǅungla Ⓐⓑ ΑβΓ ДжДЖ",
    "!!! ??? ... --- *** ### /// \\\\ ||| <<>> {{}} [[]] (()) ^^ `` ~~ $$ ++ ==",
    "foo.bar(baz)[0]->qux::<T>&mut *p; // c\n/* d */ #!/bin/sh",
    "https://example.org/a_b-c?d=e&f=%20#g user@example.org",
    "。、！？；：「」（）〈〉　全角　ＡＢＣ１２３～",
    "a।b۔c،d…e。f，g、h",
    "한국어ㄱㄴㄷ中文ㄅㄆ일본어カタカナﾊﾝｶｸ漢字々〆龥龦㐀𠀀豈",
    "<sentinel:12> IMGIMGABZ IMGIMGABCDEZ     x",
    "\x00\x01\x1c\x7f a\x00b",
    "\ue000\uf8ff\U0001f9ff\U000e0001",
    "tab\tsep\t\tdouble \t mixed\t \n",
    "MixedCASEWords andThen1More2 UPPER lower Title",
    "1234567 and 1,234,567; 0x1F 1e-5 3/4 50%",
    "“He said ‘it's’—didn’t he?” «non» „ja“",
    " leading and trailing ",
    "a" * 40 + " " * 20 + "1" * 11,
    "日本語123テスト456　789",
    "ภาษาไทย123 ລາວ ខ្មែរ မြန်မာ",
    "x\u0300y ñ n\u0303 Å A\u030a ﬁ ﬀ",
    "E=mc² H₂O 10⁻³ ①②③",
]
PIECES = ["a", "B", "é", "É", "中", "の", "가", "ж", "1", "22", "333", "4444", ".", ",", "!", "'"]
PIECES += ["'s", "'LL", "-", "_", "/", "(", "|", "$", "<", " ", "  ", "\n", "\r\n", "\t", "\u00a0"]
PIECES += ["\u3000", "\u0301", "क", "🚀", "²", "foo", "Bar", "HTTPServer", "it's", "。", "、", "ſ"]

FIRST = {splitting: name for name, splitting in reversed(NAMES.items())}


def fields_of(name: str | None, **more: Any) -> dict[str, Any]:
    tokens, merges = gguf_files.vocabulary()
    return {
        "tokenizer.ggml.tokens": [*tokens, "<|end|>"],
        "tokenizer.ggml.token_type": [1] * len(tokens) + [3],
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in merges],
        "tokenizer.ggml.eos_token_id": len(tokens),
        "tokenizer.ggml.add_bos_token": False,
        **({} if name is None else {"tokenizer.ggml.pre": name}),
        **more,
    }


def compare(name: str, path: Path, examples: int) -> None:
    """Hold a name's ids against llama.cpp's, on the list above and on drawn text."""
    mine = byte_level_tokenizer(fields_of(name), "x.gguf")
    with llama_server.tokenizing(
        gguf_files.write(path, *gguf_files.vocabulary(), pre=name)
    ) as theirs:
        for text in NASTY:
            assert mine(text, add_special_tokens=False)["input_ids"] == theirs(text), text

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
        def drawn(text: str) -> None:
            assert mine(text, add_special_tokens=False)["input_ids"] == theirs(text)

        drawn()


@pytest.mark.parametrize("name", sorted(FIRST.values()))
def test_a_name_splits_text_as_llama_cpp_does(name: str, tmp_path: Path) -> None:
    compare(name, tmp_path / "x.gguf", 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES.keys() - set(FIRST.values())))
def test_another_name_of_a_way_is_that_way_in_llama_cpp_too(name: str, tmp_path: Path) -> None:
    compare(name, tmp_path / "x.gguf", 60)


def test_the_vocabulary_tells_the_ways_apart() -> None:
    backend = byte_level_tokenizer(fields_of("gpt-2"), "x.gguf").backend_tokenizer
    described = json.loads(backend.to_str())

    def ids(splitting: Splitting) -> list[list[int]]:
        described["pre_tokenizer"] = splitting.definition()
        described["model"]["ignore_merges"] = splitting.whole_words
        made = Tokenizer.from_str(json.dumps(described))
        return [made.encode(text, add_special_tokens=False).ids for text in NASTY]

    found = {name: ids(splitting) for splitting, name in FIRST.items()}
    same = [(a, b) for a in found for b in found if a < b and found[a] == found[b]]
    # Two spellings of one rule: blanks before a line's end take the ends in between along.
    assert same == [("bailingmoe", "qwen2")]


def test_a_splitting_is_written_as_tokenizer_json_has_it() -> None:
    assert NAMES["smollm"].definition() == {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": True,
            },
        ],
    }
    assert NAMES["gpt-2"].definition()["type"] == "ByteLevel"
    assert Splitting(("x",)).definition()["pretokenizers"][0]["pattern"] == {"Regex": "x"}
