"""What a model's directory holds, looked at before a library reads it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from potstill.errors import PotstillError

# Each decides something about a model, and transformers passes over some of them when broken.
_JSON_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "model.safetensors.index.json",
)
_INDEX = "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"
# Names shown in one sentence; the rest are counted.
_SHOWN = 3


def check_directory(directory: Path, ref: str) -> None:
    """Raise PotstillError where a model's files are absent, cut off or no JSON; `ref` names it.

    Only headers of weights are read, so that the size of a model does not matter.
    """
    needed = {"config.json": "config.json", "tokenizer.json": "tokenizer.json (a fast tokenizer)"}
    for name, words in needed.items():
        if not (directory / name).is_file():
            raise PotstillError(f"the model {ref} has no {words}; point to a complete directory")
    if (directory / "adapter_config.json").is_file():
        raise PotstillError(
            f"the model {ref} holds an adapter (adapter_config.json) beside its weights; merge it "
            "into them with peft's merge_and_unload and save the result"
        )
    for name in _JSON_FILES:
        if (directory / name).is_file():
            check_json(directory / name, ref)
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise PotstillError(
            f"the model {ref} has no .safetensors file; potstill loads no pickled weights, so "
            "save it again with transformers' save_pretrained"
        )
    if not (directory / "model.safetensors").is_file() and (directory / _INDEX).is_file():
        _check_shards(directory, ref)
    for file in files:
        _check_header(file, ref)


def check_json(file: Path, ref: str) -> None:
    """Raise PotstillError where a file of the model `ref` holds no JSON object."""
    facts = file.stat()
    fault = _json_fault(file, facts.st_mtime_ns, facts.st_size)
    if fault is not None:
        raise PotstillError(
            f"the model {ref} has a {file.name} that {fault}; fetch or save that file again"
        )


@lru_cache(maxsize=256)
def _json_fault(file: Path, changed: int, size: int) -> str | None:
    """Return what is wrong with a JSON file; kept while it does not change."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        return f"is not valid JSON (line {error.lineno}, column {error.colno})"
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    except RecursionError:
        return "is nested too deeply"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if isinstance(content, dict) else "holds no JSON object"


def integer_tensors(directory: Path) -> list[str]:
    """Return the names of the tensors that a model's files hold as whole numbers."""
    from safetensors import safe_open

    found = []
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118
                if handle.get_slice(name).get_dtype().startswith(("I", "U", "BOOL")):
                    found.append(name)
    return found


def named(names: list[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown, rest = ", ".join(names[:_SHOWN]), len(names) - _SHOWN
    return shown if rest <= 0 else f"{shown} and {rest} more"


def _check_shards(directory: Path, ref: str) -> None:
    owners = json.loads((directory / _INDEX).read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(owners, dict) or not all(isinstance(f, str) for f in owners.values()):
        raise PotstillError(
            f"the model {ref} has a {_INDEX} without a weight_map of file names; fetch or save "
            "that file again"
        )
    absent = sorted({f for f in owners.values() if not (directory / f).is_file()})
    if absent:
        lost = sorted(name for name, file in owners.items() if file in absent)
        raise PotstillError(
            f"the model {ref} lacks {named(absent)}, which its {_INDEX} names for "
            f"{named(lost)}; fetch the missing files"
        )


def _check_header(file: Path, ref: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt"):
            return
    except (SafetensorError, OSError, ValueError) as error:
        with file.open("rb") as opened:
            pointer = opened.read(len(_LFS_POINTER)) == _LFS_POINTER
        fault = "is a Git LFS pointer and not the weights" if pointer else "is cut off or damaged"
        way_out = "run `git lfs pull` there" if pointer else "fetch or save that file again"
        raise PotstillError(f"the model {ref} has a {file.name} that {fault}; {way_out}") from error
