"""Runs llama.cpp's own converter; a process of its own, started by `potstill.models.export`.

The converter brings its own `gguf` package, which may be newer than the installed one, and changes
settings of torch: that is why it does not run in ours. It tells pre-tokenizers apart by a digest
of the ids that a text becomes, which no trimmed vocabulary reproduces: where it finds none, it is
told the one that potstill read from the tokenizer's definition. Where the student stops, and what
its tokenizer puts around a text, is stated as the student has it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

UNKNOWN_ARCHITECTURE = 3
UNKNOWN_PRE_TOKENIZER = 4
NO_SENTENCEPIECE = 5
NO_TOKENIZER_MODEL = 6


def main() -> int:
    """Convert as the command line says and return the exit status."""
    parser = argparse.ArgumentParser()
    for name in ("folder", "source", "target", "kind", "name", "pre", "ends"):
        parser.add_argument(name)
    given = parser.parse_args()
    sys.path.insert(0, given.folder)

    converter = importlib.import_module("convert_hf_to_gguf")
    base = importlib.import_module("conversion.base")
    source = Path(given.source)
    _say_in_older_words(base.ModelBase)
    if not _knows(converter, base, source):
        return UNKNOWN_ARCHITECTURE
    _name_pre_tokenizer(base.TextModel, given.pre)
    _look_for_sentencepiece_last(base.TextModel)
    _state(base.TextModel, _around_text(source) | _stated_ends(given.ends))
    sys.argv[1:] = [str(source), "--outfile", given.target, "--outtype", given.kind]
    sys.argv += ["--model-name", given.name]
    try:
        converter.main()
    except _UnknownPreTokenizer:
        return UNKNOWN_PRE_TOKENIZER
    except (ModuleNotFoundError, FileNotFoundError) as error:
        return _tokenizer_failure(error, source)
    return 0


def _tokenizer_failure(error: Exception, source: Path) -> int:
    """Return the exit status where a SentencePiece tokenizer cannot be read; raise others again."""
    module = isinstance(error, ModuleNotFoundError) and error.name == "sentencepiece"
    if not module and "tokenizer.model" not in str(error):
        raise error
    return NO_SENTENCEPIECE if (source / "tokenizer.model").is_file() else NO_TOKENIZER_MODEL


def _say_in_older_words(model: Any) -> None:
    """Have the converter find what transformers 5 keeps in `rope_parameters` where it looks."""
    load = model.load_hparams

    def loaded(*arguments: Any, **named: Any) -> Any:
        facts = load(*arguments, **named)
        rotated = (facts.get("rope_parameters") or {}).get("partial_rotary_factor")
        if rotated is not None:
            facts.setdefault("rotary_pct", rotated)
        return facts

    model.load_hparams = staticmethod(loaded)


class _UnknownPreTokenizer(Exception):
    """Neither the converter nor potstill knows how the tokenizer splits text into words."""


def _knows(converter: Any, base: Any, source: Path) -> bool:
    facts = base.ModelBase.load_hparams(source, False)
    architecture = converter.get_model_architecture(facts, converter.ModelType.TEXT)
    try:
        converter.get_model_class(architecture)
    except NotImplementedError:
        return False
    return True


def _name_pre_tokenizer(model: Any, name: str) -> None:
    """Have the converter take `name` where its digests know nothing; empty for none."""
    by_digest = model.get_vocab_base_pre

    def found(self: Any, tokenizer: Any) -> str:
        try:
            return str(by_digest(self, tokenizer))
        except NotImplementedError as error:
            if not name:
                raise _UnknownPreTokenizer from error
            return name

    model.get_vocab_base_pre = found


def _stated_ends(ends: str) -> dict[str, int | None]:
    """Return the fields for the ids at which the student stops, None for those to leave out.

    The converter takes one from the tokenizer and, for some architectures, others by numbers that
    are true of the original vocabulary alone.
    """
    ids = [int(end) for end in ends.split(",") if end]
    keys = [f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom")]
    return dict(zip(keys, [*ids, None, None, None], strict=False)) if ids else {}


def _around_text(source: Path) -> dict[str, bool]:
    """Return the fields for what the tokenizer puts around a text: without, a name decides."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    ids = tokenizer("a")["input_ids"]
    return {
        "tokenizer.ggml.add_bos_token": ids[:1] == [tokenizer.bos_token_id],
        "tokenizer.ggml.add_eos_token": ids[-1:] == [tokenizer.eos_token_id],
    }


def _state(model: Any, fields: Mapping[str, bool | int | None]) -> None:
    """Have the converter write these fields in place of its own."""
    prepare = model.prepare_metadata

    def prepared(self: Any, vocab_only: bool) -> None:
        prepare(self, vocab_only=vocab_only)
        for key, value in fields.items():
            self.gguf_writer.remove_key(key)
            if isinstance(value, bool):
                self.gguf_writer.add_bool(key, value)
            elif value is not None:
                self.gguf_writer.add_uint32(key, value)

    model.prepare_metadata = prepared


def _look_for_sentencepiece_last(model: Any) -> None:
    """Have the converter look for tokenizer.model before it needs the package that reads one."""
    create = model._create_vocab_sentencepiece

    def created(self: Any) -> Any:
        if not (self.dir_model / "tokenizer.model").is_file():
            raise FileNotFoundError("tokenizer.model")
        return create(self)

    model._create_vocab_sentencepiece = created


if __name__ == "__main__":
    sys.exit(main())
