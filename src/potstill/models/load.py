"""Load, save and open up models: directories, hub ids, GGUF files."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from potstill.errors import PotstillError
from potstill.models import gguf
from potstill.models.checked import checked_network, checked_tokenizer, one_sentence
from potstill.models.files import check_directory
from potstill.models.head import Head
from potstill.models.head_form import learnt_form, stated_form
from potstill.models.identity import identity_of, tokenizer_id_of
from potstill.models.loaded import LoadedModel
from potstill.models.precision import resolve_device, resolve_dtype


def locate(ref: str, *, revision: str | None = None) -> Path:
    """Return the local Hugging Face directory that a model reference stands for.

    `ref` is a directory, a `.gguf` file, `package:NAME`, or a hub id (downloaded, safetensors
    only). Raises PotstillError where nothing usable is there.
    """
    path = Path(ref).expanduser()
    if ref.startswith("package:"):
        directory = _converted(gguf.package_file(ref.removeprefix("package:")), ref)
    elif path.suffix == ".gguf" and not path.is_dir():
        if not path.is_file():
            raise PotstillError(f"the GGUF file {ref} does not exist; check its path")
        directory = _converted(path, ref)
    else:
        directory = path if path.is_dir() else _downloaded(ref, revision)
    check_directory(directory, ref)
    return directory


def load(
    ref: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    trainable: bool = False,
) -> LoadedModel:
    """Return a model ready to be asked, or to be trained.

    A model that is only asked holds its weights in the compute dtype; a trainable one holds
    fp32 master weights. Raises PotstillError where the model cannot be used.
    """
    directory = locate(ref, revision=revision)
    where = resolve_device(device)
    dtype = resolve_dtype(precision, where)
    tokenizer = checked_tokenizer(directory, ref, trust_remote_code=trust_remote_code)
    network = checked_network(
        directory,
        ref,
        torch.float32 if trainable else dtype,
        trust_remote_code=trust_remote_code,
    )
    network = network.to(where).eval()
    return LoadedModel(
        network=network,
        tokenizer=tokenizer,
        identity=identity_of(directory),
        tokenizer_id=tokenizer_id_of(directory),
        device=where,
        compute_dtype=dtype,
        eos_ids=_eos_ids(network, tokenizer, ref),
        source=ref,
        directory=directory,
        head_form=learnt_form(network, tokenizer, where, ref),
    )


def load_tokenizer(directory: Path, *, trust_remote_code: bool = False) -> Any:
    """Return a model's tokenizer without its weights."""
    return checked_tokenizer(directory, str(directory), trust_remote_code=trust_remote_code)


def trainable_copy(model: LoadedModel) -> LoadedModel:
    """Return the model again with fp32 weights of its own, read from its files where it has any."""
    if model.directory is None or next(model.network.parameters()).dtype == torch.float32:
        return replace(model, network=copy.deepcopy(model.network).float())
    network = checked_network(
        model.directory, model.source, torch.float32, kind=type(model.network)
    )
    return replace(model, network=network.to(model.device).eval())


def save(model: LoadedModel, directory: Path) -> None:
    """Write a model so that plain transformers loads it: safetensors, config, tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    model.network.save_pretrained(directory)
    model.tokenizer.save_pretrained(directory)


def reidentified(model: LoadedModel, directory: Path) -> LoadedModel:
    """Return the model under the identity of what was saved in `directory`."""
    return replace(
        model,
        identity=identity_of(directory),
        tokenizer_id=tokenizer_id_of(directory),
        source=str(directory),
        directory=directory,
    )


def body_of(network: Any) -> Any:
    """Return the transformer without its head: ids to final hidden states after the last norm."""
    return network.base_model


def blocks_of(network: Any) -> nn.ModuleList:
    """Return the list of transformer blocks, for any decoder of transformers.

    Raises PotstillError where it cannot be told which list that is.
    """
    count = network.config.get_text_config().num_hidden_layers
    for module in network.base_model.children():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise PotstillError(
        f"potstill does not know where {type(network).__name__} keeps its blocks; "
        "set shrink.drop_layers and train.frozen_blocks to 0"
    )


def head_of(model: LoadedModel) -> Head:
    """Return the output head, sharing the network's weights."""
    output = model.network.get_output_embeddings()
    form = model.head_form or stated_form(model.network.config.get_text_config())
    return Head(
        weight_VD=output.weight,
        bias_V=getattr(output, "bias", None),
        softcap=form.softcap,
        scale=form.scale,
        tokens=min(len(model.tokenizer), output.weight.shape[0]),
    )


def context_length(model: LoadedModel) -> int:
    """Return how many tokens the model can read at once."""
    config = model.network.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", 2**31))


def _eos_ids(network: Any, tokenizer: Any, ref: str) -> tuple[int, ...]:
    """Return the ids that end a response, the tokenizer's own first."""
    stated = network.generation_config.eos_token_id if network.generation_config else None
    ids = [stated] if isinstance(stated, int) else list(stated or [])
    if tokenizer.eos_token_id is not None:
        ids.insert(0, tokenizer.eos_token_id)
    unique = tuple(dict.fromkeys(ids))
    if not unique:
        raise PotstillError(
            f"the model {ref} names no end-of-sequence token; set eos_token in its "
            "tokenizer_config.json"
        )
    return unique


def _converted(file: Path, ref: str) -> Path:
    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise PotstillError(
                f"the file {ref} is no GGUF file (it does not begin with GGUF); fetch it again"
            )
    with one_sentence(f"the GGUF file {ref} cannot be read", "fetch it again"):
        return gguf.converted(file)


def _downloaded(ref: str, revision: str | None) -> Path:
    if ref.count("/") != 1 or ref.startswith(("/", ".", "~")):
        raise PotstillError(
            f"the model {ref} does not exist; give a Hugging Face directory, a hub id "
            "(owner/name), a .gguf file or package:NAME"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "LICENSE*", "README.md", "*.txt"]
    try:
        return Path(snapshot_download(ref, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise PotstillError(
            f"the model {ref} is neither a local directory nor to be had from the hub "
            f"({type(error).__name__}); check the name and the network"
        ) from error
