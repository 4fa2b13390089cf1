r"""How the names in `tokenizer.ggml.pre` split text into words, as llama.cpp reads a GGUF file.

A byte-level vocabulary says which pieces there are; the name says between which characters none
may reach. llama.cpp lists the regular expressions of each name in `src/llama-vocab.cpp`; they are
facts of the format, written here for the engine of `tokenizers` (oniguruma). Each splits what the
one before left: what it matches is a word, and so is what lies between two matches.

llama.cpp is what a GGUF file is held against. Where it differs from the tokenizer that a file was
made from, for want of an engine that knows Unicode or by choice, it is followed:

- a shortened verb is told by ASCII letters (`'` and a long s is none);
- tekken, gpt-4o and their kin tell upper from lower case by ASCII letters, and but for
  granite-embed-multi combining marks are no letters there; youtu, tiny_aya: case does not matter;
- where a name spells out characters beyond ASCII (deepseek, youtu, afmoe), blanks beyond ASCII are
  blanks and nothing else, also where they lie inside a range;
- nothing is normalised, where the original may be (Qwen's to NFC).

What is left are characters that Unicode gave a category after one engine's tables were made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_DIGIT = r"\p{N}"
_THREE = r"\p{N}{1,3}"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# An apostrophe with what is left of a verb, whatever its case.
_SHORT = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_REST = rf"{_SIGNS}|{_BLANKS}"

_LLAMA3 = rf"{_SHORT}|{_WORD}|{_THREE}|{_REST}"
_QWEN2 = rf"{_SHORT}|{_WORD}|{_DIGIT}|{_REST}"
_QWEN35 = (
    rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|{_DIGIT}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_BLANKS}"
)
_MINICPM5 = rf"{_SHORT}|{_WORD}|\p{{N}}+|{_REST}"
_SEED_CODER = rf"{_SHORT}|{_WORD}|{_DIGIT}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_BLANKS}"
_BAILING = (
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
    rf"|{_WORD}|{_DIGIT}|{_SIGNS}|\s*[\r\n]|\s+(?!\S)|\s+"
)
_EXAONE_MOE = (
    rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|{_DIGIT}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
_JAIS2 = (
    rf"{_SHORT}|{_WORD}|{_THREE}|{_SIGNS}|\s*[\r\n]+|"
    + "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4))
    + r"|\s{1,2}(?!\S)|\s"
)


def _by_case(letters: str, tail: str, digits: str) -> str:
    """Words that end where a capital follows a small letter; both told by ASCII alone."""
    big, small = rf"[{letters}&&[^a-z]]", rf"[{letters}&&[^A-Z]]"
    before = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{before}{big}*{small}+{tail}|{before}{big}+{small}*{tail}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_BLANKS}"
    )


_TEKKEN = _by_case(r"\p{L}", "", _DIGIT)
_GPT4O = _by_case(r"\p{L}", f"{_SHORT}?", _THREE)
_GRANITE_MULTI = _by_case(r"\p{L}\p{M}", f"{_SHORT}?", _THREE)


def _any_case(digits: str) -> str:
    """Words of letters and marks; llama.cpp folds the cases of these two into one."""
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+{_SHORT}?|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_BLANKS}"
    )


# A run of digits is cut into threes from its right; what stands before it stays with its first.
_THREES = r"\P{N}*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"

_ASCII_SIGNS = r"!-/:-@\[-`{-~"
_MARKED = (
    rf"[{_ASCII_SIGNS}][A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_BLANKS}"
)


def _range(hexadecimal: str) -> str:
    """Return the inside of a character class from code points such as `b5 c0-d6`."""
    spans = [span.split("-") for span in hexadecimal.split()]
    return "".join("-".join(rf"\x{{{point}}}" for point in span) for span in spans)


_KANA_AND_HAN = f"[{_range('4e00-9fa5 3040-30ff')}]+"
_WIDE = rf"[{_range('800-9fa5 ac00-d7ff')}&&\S]+"
_DEEPSEEK_V3 = (_THREE, _KANA_AND_HAN, _MARKED)

# Letters that have a case, beyond ASCII.
_CASED = _range(
    "b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376-377 37b-37d 37f 386 388-38a "
    "38c 38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba "
    "1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d "
    "1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc "
    "1fd0-1fd3 1fd6-1fdb 1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d "
    "2124 2126 2128 212a-212d 212f-2134 2139 213c-213f 2145-2149 214e 2183-2184 2c00-2c7b "
    "2c7e-2ce4 2ceb-2cee 2cf2-2cf3 a640-a66d a680-a69b a722-a76f a771-a787 a78b-a78e "
    "ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3 104d8-104fb "
    "10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943"
)
_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[A-Za-z{_CASED}]+",
    rf"\s?[!-/:-~{_range('ff01-ff0f ff1a-ff5e 2018-201f 3001-3002')}]+",
    r"\s+\z",
    _WIDE,
    r"\p{N}+",
)
_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _WIDE, _DIGIT)

_UNSPLIT = rf" ?[^(\s|.,!?{_range('2026 3002 ff0c 3001 964 6d4 60c')})]+"
_YOUTU = (
    f"[{_range('ac00-d7a3 3131-318e')}]+"
    f"|[{_range('ff01 2026 201c 201d 2018 2019 2014 ff1a ff1b ff0c 3001-303f fe30-fe4f')}]+"
    f"|[{_range('3105-312f')}]+|{_KANA_AND_HAN}",
    _any_case(_DIGIT),
)
_CHAMELEON = (
    r"<sentinel:[0-9]+>",
    r"IMGIMG[A-I]{1,4}Z",
    r"[\t\n]|    |  ",
    _DIGIT,
    rf"[\p{{P}}{_ASCII_SIGNS}]",
    _GPT2,
)
_ASIAN = _range(
    "4e00-9fff 3400-4dbf 8c48-d7ff e000-faff 3040-30ff ff65-ff9f 2f00-2fdf e40-e7f e80-eff "
    "1780-17ff 1000-109f aa60-aa7f a9e0-a9ff ac00-d7af 1100-11ff"
)
_AFMOE = (_THREES, f"[{_ASIAN}]+", _MARKED)
_LINES = r"[^\n]+|\n+"

_HAN = _range("3400-4dbf 4e00-9fff f900-faff 20000-2a6df 2a700-2ebef 2f800-2fa1f")
_KIMI = rf"[{_HAN}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{_HAN}]]+{_SHORT}?|{_THREE}|{_REST}"
_FALCON = (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]")
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")


@dataclass(frozen=True)
class Splitting:
    """How text is split before byte-level BPE, and what else a name decides.

    `patterns` are applied one after the other. With `whole_words` a word that is in the vocabulary
    is one token even where no merges lead to it. `adds_bos` is whether a text begins with the
    begin-of-sequence token where the file does not say.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    adds_bos: bool = False

    def definition(self) -> dict[str, Any]:
        """Return the pre-tokenizer as `tokenizer.json` writes it."""
        before, last = self.patterns[:-1], self.patterns[-1]
        words = last == _GPT2
        steps = [_step(p) for p in (before if words else self.patterns)]
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        steps.append({**level, "use_regex": words})
        if len(steps) == 1:
            return steps[0]
        return {"type": "Sequence", "pretokenizers": steps}


def _step(pattern: str) -> dict[str, Any]:
    if pattern == _DIGIT:
        return {"type": "Digits", "individual_digits": True}
    split = {"type": "Split", "pattern": {"Regex": pattern}}
    return {**split, "behavior": "Isolated", "invert": False}


def _named(splitting: Splitting, *names: str) -> dict[str, Splitting]:
    return dict.fromkeys(names, splitting)


def _of(*patterns: str, **more: bool) -> Splitting:
    return Splitting(patterns, **more)


_LLAMA3_NAMES = (
    *("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
    "jina-v5-nano",
)
_GPT2_NAMES = (
    *("gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "mpt", "olmo", "jais", "exaone4"),
    *("trillion", "granite-docling", "modern-bert", "jina-es", "jina-de"),
)
_DIGIT_NAMES = (
    *("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
    "mellum2",
)
_QWEN2_NAMES = (
    *("qwen2", "stablelm2", "deepseek-r1-qwen", "hunyuan", "megrez", "kormo", "f2llmv2"),
    *("solar-open", "grok-2"),
)

# The first name of a splitting is the one that an exported file states.
NAMES: dict[str, Splitting] = {
    **_named(_of(_LLAMA3, whole_words=True, adds_bos=True), *_LLAMA3_NAMES),
    **_named(_of(_LLAMA3), "dbrx", "smaug-bpe", "chatglm-bpe"),
    # The llama.cpp that tests run takes whole words here, an older one does not; it shows where
    # no merges lead to a word.
    **_named(_of(_LLAMA3, whole_words=True), "glm4"),
    **_named(_of(_QWEN2), *_QWEN2_NAMES),
    **_named(_of(_QWEN35), "qwen35"),
    **_named(_of(_GPT2), *_GPT2_NAMES),
    **_named(_of(_DIGIT, _GPT2), *_DIGIT_NAMES),
    **_named(_of(_TEKKEN, whole_words=True, adds_bos=True), "tekken"),
    **_named(_of(_GPT4O), "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"),
    **_named(_of(_GRANITE_MULTI, whole_words=True), "granite-embed-multi-97m"),
    **_named(_of(*_DEEPSEEK_V3), "deepseek-v3", "hunyuan-dense", "joyai-llm"),
    **_named(_of(*_DEEPSEEK_LLM), "deepseek-llm"),
    **_named(_of(*_DEEPSEEK_CODER), "deepseek-coder"),
    **_named(_of(_SEED_CODER), "seed-coder"),
    **_named(_of(_BAILING), "bailingmoe", "bailingmoe2", "llada-moe"),
    **_named(_of(_EXAONE_MOE), "exaone-moe"),
    **_named(_of(_KIMI), "kimi-k2"),
    **_named(_of(_JAIS2), "jais-2"),
    **_named(_of(_THREE, _MINICPM5, whole_words=True), "minicpm5"),
    **_named(_of(_THREES, _any_case(_THREE)), "tiny_aya", "cohere2moe"),
    **_named(_of(*_YOUTU, whole_words=True), "youtu"),
    **_named(_of(*_AFMOE), "afmoe"),
    **_named(_of(_LINES, _QWEN2), "laguna"),
    **_named(_of(*_CHAMELEON, adds_bos=True), "chameleon"),
    **_named(_of(*_FALCON), "falcon"),
    **_named(_of(r"\p{N}+", r"(?=(?:[0-9]{3})+(?![0-9]))"), "superbpe"),
    **_named(_of(_UNSPLIT), "bloom", "poro-chat", "gpt3-finnish"),
    **_named(_of(_UNSPLIT, _DIGIT), "viking"),
    **_named(_of(*_DEFAULT), "default"),
}


def name_of(definition: Any, *, whole_words: bool) -> str:
    """Return llama.cpp's name for a `tokenizer.json`'s pre-tokenizer; empty where it has none.

    `whole_words` as for `Splitting`. It does not depend on the vocabulary, so that a trimmed one
    has the name of the whole.
    """
    steps = _steps(definition)
    for name, splitting in NAMES.items():
        if splitting.whole_words == whole_words and _steps(splitting.definition()) == steps:
            return name
    return ""


def _steps(definition: Any) -> list[dict[str, Any]]:
    """Return a pre-tokenizer's steps, without what makes no difference to the words."""
    stated = definition or {}
    steps = stated.get("pretokenizers", []) if stated.get("type") == "Sequence" else [stated]
    return [_step_in_short(step) for step in steps]


def _step_in_short(step: dict[str, Any]) -> dict[str, Any]:
    short = {k: v for k, v in step.items() if k != "trim_offsets"}
    if step.get("type") == "ByteLevel":
        return {"add_prefix_space": True, "use_regex": True, **short}
    regex = (step.get("pattern") or {}).get("Regex")
    if regex is not None:
        # How the makers of Llama 3 and Qwen 2 spell it; it differs at a long s alone.
        short["pattern"] = {"Regex": regex.replace(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", _SHORT)}
    return short
