"""Model directories and GGUF files that are not whole, told by what is in them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from potstill.errors import PotstillError
from potstill.models.files import check_directory, check_gguf, integer_tensors, named

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """As little as counts as a whole model."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (directory / name).write_text("{}")
    save_file({"w": torch.ones(3, 2)}, directory / "model.safetensors")
    return directory


def _write(name: str, content: bytes | str) -> Callable[[Path], object]:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda model: (model / name).write_bytes(data)


def _remove(*names: str) -> Callable[[Path], object]:
    return lambda model: [(model / name).unlink() for name in names]


def _both(*changes: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda model: [change(model) for change in changes]


def _shards(*present: int, of: int = 3) -> Callable[[Path], object]:
    def write(model: Path) -> None:
        (model / "model.safetensors").unlink()
        for n in present:
            tensor = {f"w{n}": torch.ones(2)}
            save_file(tensor, model / f"model-{n:05}-of-{of:05}.safetensors")

    return write


def _index(of: int = 3) -> Callable[[Path], object]:
    owners = {f"w{n}": f"model-{n:05}-of-{of:05}.safetensors" for n in range(1, of + 1)}
    return _write(INDEX, json.dumps({"weight_map": owners}))


@pytest.mark.parametrize("change", [lambda model: None, _both(_shards(1, 2, 3), _index())])
def test_a_whole_model_passes(model: Path, change: Callable[[Path], object]) -> None:
    change(model)
    check_directory(model, "the-ref")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_remove("config.json"), "has no config.json; point to a complete directory"),
        (
            _both(_remove("config.json"), _write("a.gguf", "GGUF")),
            "is a directory of GGUF files (a.gguf); name one of them",
        ),
        (_remove("tokenizer.json"), "has no tokenizer.json (a fast tokenizer); point to"),
        (
            _both(_remove("tokenizer.json"), _write("tokenizer.model", "x")),
            "has no tokenizer.json (a fast tokenizer), only tokenizer.model; load its tokenizer",
        ),
        (_write("config.json", "{,}"), "config.json that is not valid JSON (line 1, column 2)"),
        (_write("config.json", "[1]"), "config.json that holds a list and no JSON object"),
        (_write("config.json", "null"), "config.json that holds null and no JSON object"),
        (_write("config.json", " "), "config.json that is empty"),
        (_write("config.json", b"\xff"), "config.json that is not UTF-8 text"),
        (_write("config.json", POINTER), "config.json that is a Git LFS pointer and not the file"),
        (_write("generation_config.json", "7"), "holds a single value and no JSON object"),
        (_write("model.safetensors", b""), "model.safetensors that is empty"),
        (_write("model.safetensors", POINTER), "is a Git LFS pointer and not the weights"),
        (_write("model.safetensors", b"garbage" * 9), "model.safetensors that is cut off or"),
        (_write("adapter_config.json", "{}"), "holds an adapter (adapter_config.json) beside its"),
        (
            _both(
                _remove("config.json"),
                _write("adapter_config.json", '{"base_model_name_or_path": "own/er"}'),
            ),
            "is an adapter of own/er (adapter_config.json) without its base; merge it",
        ),
        (_shards(1, 2, 3), f"has 3 shards of weights without {INDEX}, which says"),
        (_shards(1, 3), f"lacks its shard 2 of 3, and {INDEX}, which says"),
        (_shards(2, of=4), f"lacks its shards 1, 3, 4 of 4, and {INDEX}, which says"),
        (
            _both(_shards(1, 3), _index()),
            "lacks its shard 2 of 3 (model-00002-of-00003.safetensors), which its "
            f"{INDEX} names for w2; fetch the missing files",
        ),
        (
            _both(_shards(1), _write(INDEX, '{"weight_map": {"w": 1}}')),
            f"has a {INDEX} without a weight_map of file names",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_way_out(
    model: Path, change: Callable[[Path], object], words: str
) -> None:
    change(model)
    with pytest.raises(PotstillError) as caught:
        check_directory(model, "the-ref")
    assert str(caught.value).startswith("the model the-ref ")
    assert words in str(caught.value)


@pytest.mark.parametrize("depth", [200_000])
def test_json_that_is_too_deep_is_no_crash(model: Path, depth: int) -> None:
    (model / "tokenizer_config.json").write_text("[" * depth)
    with pytest.raises(PotstillError, match=r"tokenizer_config\.json that is nested too deeply"):
        check_directory(model, "the-ref")


def test_a_file_that_was_put_right_is_read_again(model: Path) -> None:
    (model / "config.json").write_text("{,}")
    with pytest.raises(PotstillError, match="not valid JSON"):
        check_directory(model, "the-ref")
    (model / "config.json").write_text('{"put": "right"}')
    check_directory(model, "the-ref")


@given(lost=st.integers(1, 200))
def test_weights_that_end_early_are_never_whole(
    tmp_path_factory: pytest.TempPathFactory, lost: int
) -> None:
    model = tmp_path_factory.mktemp("cut")
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text("{}")
    file = model / "model.safetensors"
    save_file({"a": torch.ones(5, 4), "b": torch.ones(3)}, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: max(1, len(whole) - lost)])
    with pytest.raises(PotstillError, match="is cut off or damaged"):
        check_directory(model, "the-ref")
    file.write_bytes(whole + b"x")
    with pytest.raises(PotstillError, match="is cut off or damaged"):
        check_directory(model, "the-ref")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "x.gguf is empty; check the path"),
        (b"PK\x03\x04", "x.gguf is no GGUF file (it does not begin with GGUF)"),
        (POINTER, "x.gguf is a Git LFS pointer and not the weights"),
        (b"GGUF" + struct.pack("<I", 1), "is of version 1 of GGUF, which is not known (2, 3 are)"),
        (b"GGUF" + struct.pack(">I", 9), "is of version 9 of GGUF, which is not known"),
    ],
)
def test_what_is_no_gguf_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(content)
    with pytest.raises(PotstillError) as caught:
        check_gguf(file)
    assert words in str(caught.value)


@pytest.mark.parametrize("order", ["<I", ">I"])
@pytest.mark.parametrize("version", [2, 3])
def test_gguf_of_either_byte_order_passes(tmp_path: Path, order: str, version: int) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF" + struct.pack(order, version))
    check_gguf(file)


def test_tensors_of_whole_numbers_are_found_by_name(model: Path) -> None:
    save_file(
        {
            "packed": torch.ones(2, dtype=torch.int32),
            "mask": torch.ones(2, dtype=torch.bool),
            "bytes": torch.ones(2, dtype=torch.uint8),
            "scale": torch.ones(2, dtype=torch.bfloat16),
        },
        model / "model.safetensors",
    )
    assert sorted(integer_tensors(model)) == ["bytes", "mask", "packed"]


@pytest.mark.parametrize(
    ("names", "words"),
    [(["a"], "a"), (list("abc"), "a, b, c"), (list("abcde"), "a, b, c and 2 more")],
)
def test_a_few_names_are_shown_and_the_rest_counted(names: list[str], words: str) -> None:
    assert named(names) == words
