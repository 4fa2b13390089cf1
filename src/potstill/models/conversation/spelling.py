"""Control tokens against text that merely spells them.

A template writes control tokens (`<|im_end|>`); a message or an answer that spells one means its
letters. Texts are hidden from the tokenizer before they are rendered: a mark stands inside every
control token that they spell. What is rendered then holds the template's own control tokens, and
marked spellings, which are encoded as letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from potstill.errors import PotstillError

# Private use characters: no text means anything by them.
_MARKS = ("\ue0f7", "\uf0a3", "\U000f1e5d")
_OPEN, _CLOSE = "\U000fd101", "\U000fd102"


@dataclass(frozen=True)
class Controls:
    """The control tokens of a tokenizer: its special ones, and those that its template writes."""

    tokenizer: Any
    spelled: frozenset[str]

    @classmethod
    def of(cls, tokenizer: Any, rendered: Iterable[str] = ()) -> Controls:
        """Return a tokenizer's; `rendered` are texts of its template, with no message's words."""
        added = tokenizer.added_tokens_decoder.values()
        special = {str(token.content) for token in added if token.special}
        texts = list(rendered)
        written = {str(t.content) for t in added if any(str(t.content) in text for text in texts)}
        return cls(tokenizer, frozenset(s for s in special | written if s.strip()))

    @cached_property
    def _special(self) -> re.Pattern[str]:
        """What finds a control token that is special."""
        added = self.tokenizer.added_tokens_decoder.values()
        return _any_of({str(t.content) for t in added if t.special} & self.spelled)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What finds a control token, the longest first."""
        return _any_of(self.spelled)

    @cached_property
    def ids(self) -> Mapping[int, str]:
        """The control tokens by id."""
        return {
            int(i): str(token.content)
            for i, token in self.tokenizer.added_tokens_decoder.items()
            if str(token.content) in self.spelled
        }

    def id_of(self, token: str) -> int:
        """Return a control token's id."""
        return int(self.tokenizer.convert_tokens_to_ids(token))

    def last_in(self, text: str) -> int | None:
        """Return the id of the last control token in a rendered text, if it ends the text."""
        found = list(self.pattern.finditer(text))
        return self.id_of(found[-1][0]) if found and found[-1].end() == len(text) else None

    def mark_for(self, *values: Any) -> str:
        """Return a mark that none of the texts in `values` holds."""
        texts = [text for value in values for text in _strings(value)]
        if any(private in text for text in texts for private in (_OPEN, _CLOSE)):
            raise PotstillError(
                f"a text holds U+{ord(_OPEN):X} or U+{ord(_CLOSE):X}, which potstill marks control "
                "tokens with; remove these private use characters from it"
            )
        for mark in _MARKS:
            if not any(mark in text for text in texts):
                return mark
        raise PotstillError(
            "a text holds every private use character that potstill marks spellings with; remove "
            f"U+{ord(_MARKS[-1]):X} from it"
        )

    def hidden(self, value: Any, mark: str, *, spoken: bool = False) -> Any:
        """Return a text (or the texts in lists and mappings) with every spelling marked.

        What was `spoken` by an assistant before keeps the marks of its reasoning (added tokens that
        are not special), since templates look for them.
        """
        pattern = self._special if spoken else self.pattern
        if isinstance(value, str):
            return pattern.sub(lambda m: m[0][0] + mark + m[0][1:], value)
        if isinstance(value, Mapping):
            return {
                self.hidden(key, mark, spoken=spoken): self.hidden(item, mark, spoken=spoken)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.hidden(item, mark, spoken=spoken) for item in value]
        return value

    def encode(self, text: str, mark: str = _MARKS[0]) -> list[int]:
        """Return the ids of a rendered text; marked spellings become letters."""
        if mark not in text:
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        named = self.pattern.sub(lambda m: self._private[m[0]], text).replace(mark, "")
        encoded = self._renamed.encode(named, add_special_tokens=False)
        ids = [self._originals.get(i, i) for i in encoded.ids]
        if sum(i in self.ids for i in ids) != named.count(_OPEN):
            raise PotstillError(
                "the tokenizer makes a control token of text that merely spells one; leave the "
                "rows that spell its control tokens out"
            )
        return ids

    def behind(self, prompt: str, text: str, mark: str, name: str) -> tuple[int, ...]:
        """Return the ids of a text behind a prompt, whose own ids stay as they are.

        `name` says whose tokenizer it is, in errors. Raises PotstillError where no ids do.
        """
        before = self.encode(prompt, mark)
        whole = self.encode(prompt + text, mark)
        plain = tuple(whole[len(before) :]) if whole[: len(before)] == before else None
        # Some tokens take the white space behind them, which an answer may begin with.
        if plain is not None and (not text[:1].isspace() or self._says(plain, before, text, mark)):
            return plain
        # Or a token would reach from the prompt into the answer: it begins one of its own.
        wanted = self.decode(whole)
        for context in ("\n", ""):
            lead = self.encode(context, mark)
            ids = self.encode(context + text, mark)
            rest = tuple(ids[len(lead) :])
            if ids[: len(lead)] != lead:
                continue
            if plain is None and self.decode([*before, *rest]) == wanted:
                return rest
            if plain is not None and self._says(rest, before, text, mark):
                return rest
        if plain is not None:
            return plain
        raise PotstillError(
            f"the tokenizer of {name} cannot cut an answer off from its prompt: no ids "
            "for the answer alone decode to its text; take a model whose template ends the prompt "
            "with a control token or a line break"
        )

    def _says(self, ids: Sequence[int], before: Sequence[int], text: str, mark: str) -> bool:
        """Whether the ids of a text behind others give it back."""
        said = self.decode(ids, behind_control=bool(before) and before[-1] in self.ids)
        return said == self.bracketed(text).replace(mark, "")

    def decode(self, ids: Sequence[int], *, behind_control: bool = False) -> str:
        """Return the text of ids with control tokens in private brackets, which no text spells.

        `behind_control` says that a control token stands before them.
        """
        parts: list[str] = []
        run: list[int] = []
        for i in ids:
            name = self.ids.get(int(i))
            if name is None:
                run.append(int(i))
                continue
            parts += [self._text(run, behind_control), self.bracketed(name)]
            run, behind_control = [], True
        return "".join([*parts, self._text(run, behind_control)])

    def bracketed(self, text: str) -> str:
        """Return a rendered text in the form of `decode`."""
        return self.pattern.sub(lambda m: f"{_OPEN}{m[0]}{_CLOSE}", text)

    def bare(self, text: str) -> str:
        """Return a text of `decode` without its control tokens."""
        return re.sub(f"{_OPEN}[^{_CLOSE}]*{_CLOSE}", "", text)

    def _text(self, ids: Sequence[int], behind_control: bool) -> str:
        if not ids:
            return ""
        text = self._behind_letter(ids)
        return text.removeprefix(" ") if behind_control and self._spaced else text

    def _behind_letter(self, ids: Sequence[int]) -> str:
        letter, written = self._letter
        return self._decoded([*letter, *ids])[len(written) :]

    @cached_property
    def _spaced(self) -> bool:
        """Whether the tokenizer puts a space behind a control token, as old sentencepiece does."""
        for token in sorted(self.spelled):
            ids = self.tokenizer(f"{token}a", add_special_tokens=False)["input_ids"]
            if ids[0] == self.id_of(token):
                return self._behind_letter(ids[1:]) == " a"
        return False

    def _decoded(self, ids: list[int]) -> str:
        return str(
            self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    @cached_property
    def _letter(self) -> tuple[list[int], str]:
        """A letter to decode behind: sentencepiece takes away the space that begins a text."""
        ids = list(self.tokenizer("a", add_special_tokens=False)["input_ids"])
        return ids, self._decoded(ids)

    @cached_property
    def _private(self) -> dict[str, str]:
        return {name: f"{_OPEN}{n}{_CLOSE}" for n, name in enumerate(sorted(self.spelled))}

    @cached_property
    def _renamed(self) -> Tokenizer:
        """The tokenizer with control tokens under private names, so that no text spells one."""
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for token in state["added_tokens"]:
            token["content"] = self._private.get(token["content"], token["content"])
        state["post_processor"] = state["truncation"] = state["padding"] = None
        return Tokenizer.from_str(json.dumps(state))

    @cached_property
    def _originals(self) -> dict[int, int]:
        """Ids of the renamed tokenizer that differ from the original's."""
        names = {private: name for name, private in self._private.items()}
        found: dict[int, int] = {}
        for token, i in self._renamed.get_vocab(with_added_tokens=True).items():
            original = self.tokenizer.convert_tokens_to_ids(names.get(token, token))
            if original is not None and original != i:
                found[i] = int(original)
        return found


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    longest = sorted(tokens, key=lambda s: (-len(s), s))
    return re.compile("|".join(map(re.escape, longest)) or r"(?!)")


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
