"""What a reference to a model stands for, and what is said where it stands for none."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from potstill.errors import PotstillError
from potstill.models.load import locate
from potstill.models.reference import check_reference, local_path


@pytest.mark.parametrize("ref", ["owner/name", "a-b/c.d_e", "meta-llama/Llama-3.2-1B", "0x/1"])
def test_a_hub_id_is_nothing_on_this_machine(ref: str) -> None:
    assert local_path(ref) is None
    check_reference(ref)


@pytest.mark.parametrize(
    "ref", ["name", "a/b/c", "/a/b", "./a", "../a/b", "a b/c", "a/", "/", "a/ü"]
)
def test_other_names_are_paths(ref: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if ref == "/":
        assert local_path(ref) == Path("/")
        return
    with pytest.raises(PotstillError, match="does not exist; give a Hugging Face directory"):
        local_path(ref)


def test_a_directory_that_looks_like_a_hub_id_is_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert local_path("owner/name") == Path("owner/name")
    with pytest.raises(PotstillError, match="owner/name is an empty directory"):
        check_reference("owner/name")


@pytest.mark.parametrize("inside", ["hub", "snapshots/abc"])
def test_the_directory_inside_is_named(inside: str, tmp_path: Path, nano_llama: Path) -> None:
    (tmp_path / inside).parent.mkdir(exist_ok=True)
    (tmp_path / inside).symlink_to(nano_llama)
    with pytest.raises(PotstillError, match=f"but {inside} in it has one; name that directory"):
        check_reference(str(tmp_path))
    check_reference(str(tmp_path / inside))


def _http(kind: Callable[..., Exception]) -> Exception:
    # Whatever a response would have said is no part of a sentence.
    error = kind.__new__(kind)  # type: ignore[attr-defined]
    Exception.__init__(error, "404 Client Error for url: https://host/x")
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_http(errors.GatedRepoError), "is gated on the hub; accept its terms there and log in"),
        (_http(errors.RevisionNotFoundError), "has no revision v9 on the hub; name a branch"),
        (_http(errors.RepositoryNotFoundError), "neither a local directory nor a model on the hub"),
        (errors.HFValidationError("bad"), "nor a hub id (owner/name); check the name"),
        (errors.LocalEntryNotFoundError("offline"), "it cannot be reached); check the name and"),
        (ConnectionError("no route"), "it cannot be reached); check the name and the network"),
        (OSError(errno.EACCES, "closed"), "permission denied; set HF_HOME to a folder that you"),
        (OSError(errno.EROFS, "read-only"), "permission denied; set HF_HOME to a folder that you"),
        (OSError(errno.ENOSPC, "full"), "the disk is full or a size limit is reached"),
        (OSError(errno.ENOTDIR, "file"), "is a file and no folder; set HF_HOME to a folder"),
    ],
)
def test_what_the_hub_does_not_give(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refusing)
    with pytest.raises(PotstillError) as caught:
        locate("owner/name", revision="v9")
    assert words in str(caught.value)
    assert "Error" not in str(caught.value)
