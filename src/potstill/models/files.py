"""What a model's directory holds, looked at before a library reads it."""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from pathlib import Path

from potstill.durable import no_file, os_reason
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
INSTEAD = "use the model's safetensors directory instead"
_GGUF_VERSIONS = (2, 3)
_INDEX = "model.safetensors.index.json"
_WEIGHTS = "model.safetensors"
_SHARD = re.compile(r"-(\d{1,6})-of-(\d{1,6})\.safetensors$")
# safetensors' own limit, in bytes.
_LONGEST_HEADER = 100_000_000
_SLOW_TOKENIZERS = ("vocab.json", "vocab.txt", "merges.txt", "tokenizer_config.json")
_LFS_POINTER = b"version https://git-lfs"
# Names shown in one sentence; the rest are counted.
_SHOWN = 3


def check_directory(directory: Path, ref: str) -> None:
    """Raise PotstillError where a model's files are absent, cut off or no JSON; `ref` names it.

    Only headers of weights are read, so that the size of a model does not matter.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise PotstillError(
            f"the model {ref} cannot be read ({os_reason(error) or 'the folder does not open'}); "
            "check its permissions"
        ) from error
    _check_kind(directory, ref, names)
    for name in _JSON_FILES:
        if name in names:
            check_json(directory / name, ref)
    files = sorted(directory / name for name in names if name.endswith(".safetensors"))
    if not files:
        raise PotstillError(
            f"the model {ref} has no .safetensors file; potstill loads no pickled weights, so "
            "save it again with transformers' save_pretrained"
        )
    if _WEIGHTS not in names:
        _check_shards(directory, ref, [file.name for file in files])
    for file in files:
        _check_header(file, ref)


def _check_kind(directory: Path, ref: str, names: list[str]) -> None:
    """Raise PotstillError where a directory is no model's, and say what it is."""
    if "adapter_config.json" in names:
        raise PotstillError(f"the model {ref} {_adapter(directory, whole='config.json' in names)}")
    needed = {"config.json": "config.json", "tokenizer.json": "tokenizer.json (a fast tokenizer)"}
    for name, words in needed.items():
        fault = no_file(directory / name)
        if fault is None:
            continue
        if fault != "does not exist":
            raise PotstillError(f"the model {ref} has a {name} that {fault}; fetch that file again")
        hint = _instead_of_config(directory, names) if name == "config.json" else None
        if name == "tokenizer.json":
            hint = _instead_of_tokenizer(names)
        raise PotstillError(
            f"the model {ref} {hint or f'has no {words}; point to a complete directory'}"
        )


def _adapter(directory: Path, *, whole: bool) -> str:
    if whole:
        return (
            "holds an adapter (adapter_config.json) beside its weights; merge it into them with "
            "peft's merge_and_unload and save the result"
        )
    try:
        stated = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
        base = stated.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError):
        base = None
    of = f" of {base}" if isinstance(base, str) and base else ""
    return (
        f"is an adapter{of} (adapter_config.json) without its base; merge it into the base with "
        "peft's merge_and_unload, save the result with its tokenizer, and name that"
    )


def _instead_of_config(directory: Path, names: list[str]) -> str | None:
    """Return what a directory without a config.json is, and the way out, where it can be told."""
    if not names:
        return "is an empty directory; fetch or save the model there, or name another"
    ggufs = [name for name in names if name.endswith(".gguf")]
    if ggufs:
        return f"is a directory of GGUF files ({named(ggufs)}); name one of them"
    inner = [n for n in names if (directory / n / "config.json").is_file()]
    inner += [
        f"snapshots/{path.parent.name}"
        for path in sorted(directory.glob("snapshots/*/config.json"))
    ]
    if 0 < len(inner) <= _SHOWN:
        have = "has one; name that directory" if len(inner) == 1 else "have one; name one of them"
        return f"has no config.json, but {named(inner)} in it {have}"
    return None


def _instead_of_tokenizer(names: list[str]) -> str | None:
    slow = [name for name in names if name in _SLOW_TOKENIZERS or name.endswith(".model")]
    if not slow:
        return None
    return (
        f"has no tokenizer.json (a fast tokenizer), only {named(slow)}; load its tokenizer with "
        "transformers' AutoTokenizer and save it into the directory"
    )


def check_gguf(file: Path) -> None:
    """Raise PotstillError where a file is no GGUF file at all; nothing of it is loaded."""
    try:
        with file.open("rb") as opened:
            start = opened.read(len(_LFS_POINTER))
    except OSError as error:
        raise PotstillError(
            f"the GGUF file {file.name} cannot be read ({os_reason(error) or 'it does not open'}); "
            "check its permissions"
        ) from error
    if start[:4] == b"GGUF":
        _check_version(start[4:8], file)
        return
    if not start:
        fault = "is empty"
    elif start == _LFS_POINTER:
        raise PotstillError(
            f"{file.name} is a Git LFS pointer and not the weights; run `git lfs pull` there, or "
            "download it again"
        )
    else:
        fault = "is no GGUF file (it does not begin with GGUF)"
    raise PotstillError(f"{file.name} {fault}; check the path, or download it again")


def _check_version(stated: bytes, file: Path) -> None:
    """Raise PotstillError where a GGUF file is of a version that is not known."""
    # Files of either byte order are read.
    versions = [int.from_bytes(stated, "little"), int.from_bytes(stated, "big")]
    if len(stated) == 4 and not set(versions) & set(_GGUF_VERSIONS):
        raise PotstillError(
            f"{file.name} is of version {min(versions)} of GGUF, which is not known "
            f"({', '.join(map(str, _GGUF_VERSIONS))} are); convert it again, or {INSTEAD}"
        )


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
    fault = no_file(file)
    if fault is not None:
        return fault
    try:
        data = file.read_bytes()
        if data.startswith(_LFS_POINTER):
            return "is a Git LFS pointer and not the file (run `git lfs pull` there)"
        if not data.strip():
            return "is empty"
        content = json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        return f"is not valid JSON (line {error.lineno}, column {error.colno})"
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    except RecursionError:
        return "is nested too deeply"
    except OSError as error:
        return f"cannot be read ({os_reason(error) or 'it does not open'})"
    return None if isinstance(content, dict) else f"holds {_kind(content)} and no JSON object"


def _kind(content: object) -> str:
    return {list: "a list", str: "text", type(None): "null"}.get(type(content), "a single value")


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


def _check_shards(directory: Path, ref: str, files: list[str]) -> None:
    """Raise PotstillError where weights in shards lack one, or what says which is in which."""
    if not (directory / _INDEX).is_file():
        raise PotstillError(f"the model {ref} {_without_index(files)}")
    owners = json.loads((directory / _INDEX).read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(owners, dict) or not all(isinstance(f, str) for f in owners.values()):
        raise PotstillError(
            f"the model {ref} has a {_INDEX} without a weight_map of file names; fetch or save "
            "that file again"
        )
    faults = {f: no_file(directory / f) for f in sorted(set(owners.values()))}
    absent = [f for f, fault in faults.items() if fault is not None]
    if absent:
        lost = sorted(name for name, file in owners.items() if file in absent)
        fault = faults[absent[0]]
        why = "" if fault == "does not exist" else f" ({absent[0]} {fault})"
        raise PotstillError(
            f"the model {ref} lacks {named([_shard(f) for f in absent])}{why}, which its {_INDEX} "
            f"names for {named(lost)}; fetch the missing files"
        )


def _shard(file: str) -> str:
    found = _SHARD.search(file)
    return file if found is None else f"its shard {int(found[1])} of {int(found[2])} ({file})"


def _without_index(files: list[str]) -> str:
    """Return what is wrong with weights that are neither in one file nor listed in an index."""
    numbers = {int(m[1]): int(m[2]) for f in files if (m := _SHARD.search(f)) is not None}
    if not numbers:
        return (
            f"has its weights in {named(files)}, where transformers reads {_WEIGHTS}; rename that "
            "file, or save the model again"
        )
    count = max(numbers.values())
    missing = [str(n) for n in range(1, count + 1) if n not in numbers]
    if missing:
        shards = f"shard {missing[0]}" if len(missing) == 1 else f"shards {', '.join(missing)}"
        return (
            f"lacks its {shards} of {count}, and {_INDEX}, which says what is in which; fetch the "
            "missing files"
        )
    return (
        f"has {count} shards of weights without {_INDEX}, which says what is in which; fetch that "
        "file, or save the model again"
    )


def _check_header(file: Path, ref: str) -> None:
    """Raise PotstillError where a file of weights is none, or ends before its last tensor."""
    fault = no_file(file)
    if fault is not None:
        raise PotstillError(f"the model {ref} has a {file.name} that {fault}; fetch it again")
    with file.open("rb") as opened:
        start = opened.read(len(_LFS_POINTER))
    if start == _LFS_POINTER:
        raise PotstillError(
            f"the model {ref} has a {file.name} that is a Git LFS pointer and not the weights; run "
            "`git lfs pull` there"
        )
    if not start or not _sound_header(file):
        fault = "is cut off or damaged" if start else "is empty"
        raise PotstillError(
            f"the model {ref} has a {file.name} that {fault}; fetch or save that file again"
        )


def _sound_header(file: Path) -> bool:
    """Tell whether a file begins as safetensors do, and is as long as its header says.

    The library itself would be asked, did it not load torch.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
                return False
            header = json.loads(opened.read(length).decode("utf-8"))
        header.pop("__metadata__", None)
        ends = [tensor["data_offsets"][1] for tensor in header.values()]
        return 8 + length + max(ends, default=0) == size
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, LookupError):
        return False
