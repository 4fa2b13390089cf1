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
    except ModuleNotFoundError as error:
        if error.name != "sentencepiece":
            raise
        return NO_SENTENCEPIECE
    return 0


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
