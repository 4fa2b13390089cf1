"""Which licence a licence file holds, and which files state terms, by their names."""

from __future__ import annotations

import re
from pathlib import Path

from blake3 import blake3

from potstill.terms.facts import TermsFacts
from potstill.terms.statements import Evidence, found

_MOST_BYTES = 1_000_000  # of a file that is read for its licence
_LICENCE_FILE = re.compile(
    r"(.*[^a-z])?(licen[cs]e|copying|eula)([^a-z].*)?|.*terms[-_ ]of[-_ ](use|service).*",
    re.IGNORECASE,
)
_POLICY_FILE = re.compile(
    r".*((acceptable|prohibited|responsible)[-_ ]?use|use[-_ ]?(polic|restriction)|"
    r"usage[-_ ]?polic).*",
    re.IGNORECASE,
)
_NOTICE_FILE = re.compile(r"notice([-._].*)?", re.IGNORECASE)
# Where the REUSE convention keeps licences.
_FOLDER = "LICENSES"
# Permissive licences are known by the digest of their whole text, from its first words to its
# last: with anything changed or added they are not that licence any more.
_WHOLE_TEXTS = (
    (
        "apache-2.0",
        "apache license version 2.0, january 2004",
        "end of terms and conditions",
        "9a78965f0e3f5f175ffe5d39644c48a9",
    ),
    (
        "mit",
        "permission is hereby granted, free of charge",
        "dealings in the software.",
        "2a5a4050f4ed88e2e41f0d6fe80ba01f",
    ),
)
# What may stand before a licence's text (names of holders) and after it (Apache's appendix).
_MOST_AROUND = 1_300
_APPENDIX = re.compile(
    "you may not use this file except in compliance with the license|"
    "without warranties or conditions of any kind"
)
_RESTRICTIVE = re.compile(
    r"\b(additional|condition\w*|prohibit\w*|restrict\w*|outputs?|train\w*|commons|clause|"
    r"non commercial|noncommercial|notwithstanding|may not|must not|shall not)\b"
)


def licence_files(model: Path) -> list[Path]:
    """Return the files of a model directory that hold licences, in order of name."""
    inner = model / _FOLDER
    kept = sorted(inner.iterdir()) if inner.is_dir() else []
    named = [file for file in sorted(model.iterdir()) if is_licence(file.name)]
    return [file for file in (*named, *kept) if file.is_file() and not is_policy(file.name)]


def unreadable_licences(model: Path) -> list[str]:
    """Return the names in a model directory that promise terms and are no plain files."""
    return [
        path.name
        for path in sorted(model.iterdir())
        if (is_licence(path.name) or is_policy(path.name)) and not path.is_file()
    ]


def policy_files(model: Path) -> list[Path]:
    """Return the policies of use that lie in a model directory, in order of name."""
    return [file for file in sorted(model.iterdir()) if file.is_file() and is_policy(file.name)]


def notice_files(model: Path) -> list[Path]:
    """Return the notices that lie in a model directory, in order of name."""
    return [
        file
        for file in sorted(model.iterdir())
        if file.is_file() and _NOTICE_FILE.fullmatch(file.name)
    ]


def is_licence(name: str) -> bool:
    """Tell whether a file, by its name in a model directory, holds a licence."""
    kept = name.startswith(f"{_FOLDER}/")
    named = _LICENCE_FILE.fullmatch(name) is not None and not name.endswith(".py")
    return kept or (named and not is_policy(name))


def is_policy(name: str) -> bool:
    """Tell whether a file, by its name, is a policy of use."""
    return _POLICY_FILE.fullmatch(name) is not None and not name.endswith((".py", ".json"))


def recognised(file: Path, facts: TermsFacts) -> Evidence:
    """Return which licence a licence file holds, by its title or its whole text."""
    text = _plain(text_of(file))
    where = f"{_FOLDER}/{file.name}" if file.parent.name == _FOLDER else file.name
    for licence in facts.licences:
        if any(title in text[:2_000] for title in licence.titles):
            return found(licence.id, where, licence.id)
    for name, first, last, digest in _WHOLE_TEXTS:
        start, end = text.find(first), text.find(last) + len(last)
        body, around = text[start:end], f"{text[:start]} {text[end:]}"
        if (
            blake3(body.encode()).hexdigest(length=16) == digest
            and len(around) <= _MOST_AROUND
            and not _RESTRICTIVE.search(_APPENDIX.sub("", around))
        ):
            return found(name, where, name)
    return found("a text that potstill does not know", where, None)


def text_of(path: Path) -> str:
    """Return the beginning of a file as text; nothing of one that is not there.

    Of what is no plain file it is a text that nothing reads: a pipe would be waited for.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        return "\0"
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        return ""


def _plain(text: str) -> str:
    """Return text in lower case, without layout, with straight quotes."""
    for curly, straight in (("“", '"'), ("”", '"'), ("’", "'")):
        text = text.replace(curly, straight)
    return re.sub(r"[\s#*=>-]+", " ", text.lower()).strip()
