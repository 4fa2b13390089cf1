"""A tokenizer's own chat template, rendered by transformers; what it refuses is one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date as Date
from typing import Any

from jinja2 import Environment, TemplateError, TemplateSyntaxError, UndefinedError

from potstill.errors import PotstillError

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]

# What apply_chat_template and the template take for themselves.
_TAKEN = frozenset(
    {
        "messages",
        "conversation",
        "tools",
        "documents",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "strftime_now",
        "raise_exception",
    }
)
_NO_FORMAT = "strftime_now is asked for a format that the template does not spell whole"
_LONGEST_QUOTE = 160  # characters of a template's own complaint


@dataclass(frozen=True)
class ChatTemplate:
    """A template with the arguments and the date that it is rendered with.

    `name` says whose it is, in errors. `today` stands for every date that the template writes, so
    that one conversation is rendered alike on every day of a run.
    """

    tokenizer: Any
    arguments: Mapping[str, Any] = field(default_factory=dict)
    today: Date = field(default_factory=Date.today)
    name: str = "the model"

    def __post_init__(self) -> None:
        taken = sorted(_TAKEN.intersection(self.arguments))
        if taken:
            raise PotstillError(
                f"template_arguments must not hold {' or '.join(taken)}: potstill gives it itself; "
                "remove it"
            )
        unused = [a for a in self.arguments if not re.search(rf"\b{re.escape(a)}\b", self.source())]
        if unused:
            raise PotstillError(
                f"the chat template of {self.name} does not use {' or '.join(sorted(unused))}, "
                "which template_arguments states; remove it, or name one that the template reads"
            )

    @property
    def dated(self) -> bool:
        """Whether the template writes a date."""
        return "strftime_now" in self.source()

    def source(self, tools: Tools | None = None) -> str:
        """Return the template's text; a tokenizer may have one of its own for tools."""
        try:
            return str(self.tokenizer.get_chat_template(None, tools=list(tools) if tools else None))
        except ValueError as error:
            raise PotstillError(
                f"{self.name} has several chat templates and none called default; state the one to "
                "use as chat_template.jinja in its directory"
            ) from error

    def render(
        self, messages: Messages, *, tools: Tools | None = None, generate: bool = False
    ) -> str:
        """Return the text of a conversation, with the start of an answer where `generate`.

        Raises PotstillError where the template is broken or refuses these messages.
        """
        source = self.source(tools)
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=[dict(tool) for tool in tools] if tools else None,
                chat_template=_with_date(source, self.today),
                tokenize=False,
                add_generation_prompt=generate,
                **self.arguments,
            )
        except TemplateError as error:
            raise PotstillError(self._complaint(error, source, messages)) from error
        except (
            TypeError,
            ValueError,
            KeyError,
            IndexError,
            AttributeError,
            ArithmeticError,
        ) as error:
            raise PotstillError(
                f"the chat template of {self.name} cannot be rendered with the roles "
                f"{_roles(messages)} ({_fault(error)}); mend its chat_template.jinja, or leave out "
                "what it cannot take"
            ) from error
        return str(text)

    def _complaint(self, error: TemplateError, source: str, messages: Messages) -> str:
        """Return what a template's refusal means, without a word of the messages."""
        said = str(error.message or "")
        line = getattr(error, "lineno", None)
        # Only what stands in the template itself: a complaint may quote a message.
        own = said in source or said == _NO_FORMAT
        if isinstance(error, UndefinedError):
            names = re.findall(r"'([^']*)'", said)
            own = all(name in source or name.endswith(" object") for name in names)
        quoted = f' ("{said[:_LONGEST_QUOTE]}")' if said and own else ""
        if line is not None:
            return (
                f"the chat template of {self.name} is broken: {_fault(error)} in its line {line}; "
                "mend its chat_template.jinja (or the field chat_template of its "
                "tokenizer_config.json)"
            )
        first = messages[0].get("role") if messages else None
        if first == "system":
            way = "take the system message out (prompts.system, or the row's own)"
        else:
            way = "leave out the rows that it cannot take"
        return (
            f"the chat template of {self.name} refuses a conversation of the roles "
            f"{_roles(messages)}{quoted}; {way}, or take a model whose template renders it"
        )


def _fault(error: Exception) -> str:
    """Return what kind of fault stopped a template; its own words may quote a message."""
    kinds: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
        ((TemplateSyntaxError,), "a fault of syntax, or a filter or test that is not known,"),
        ((KeyError, IndexError, AttributeError), "it reads a value that is not there"),
        ((ArithmeticError,), "it computes what cannot be computed"),
        ((TypeError,), "a value has another type than it expects"),
    )
    found = (words for those, words in kinds if isinstance(error, those))
    return next(found, "a value is not what it expects")


def with_defaults(source: str, arguments: Mapping[str, Any]) -> str:
    """Return a template that takes `arguments` where it is given none of those names."""
    lines = [
        f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}\n"
        for name, value in sorted(arguments.items())
    ]
    return "".join(lines) + source


def _literal(value: Any) -> str:
    """Return a JSON value as jinja writes it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(k))}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)


def _roles(messages: Messages) -> str:
    names = [str(message.get("role")) for message in messages]
    shown = ", ".join(names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


def _with_date(source: str, today: Date) -> str:
    """Return a template whose `strftime_now` gives a fixed day, at midnight.

    transformers binds that name to the clock and takes no function in its place, so that it is
    bound again in the template, to the day in every format that the template spells.
    """
    if "strftime_now" not in source:
        return source
    days = ", ".join(f"{_quoted(f)}: {_quoted(today.strftime(f))}" for f in _formats(source))
    # The line break behind the block is trimmed, so that the template still begins a line.
    return (
        "{%- macro strftime_now(format) -%}{%- set days = {" + days + "} -%}"
        "{%- if format in days -%}{{- days[format] -}}"
        "{%- else -%}{{- raise_exception(" + _quoted(_NO_FORMAT) + ") -}}{%- endif -%}"
        "{%- endmacro %}\n" + source
    )


def _formats(source: str) -> list[str]:
    """Return every text that a template spells and that may be a date's format."""
    try:
        literals = [text[1:-1] for _, kind, text in Environment().lex(source) if kind == "string"]
        # As jinja2 reads them itself.
        read = {t.encode("ascii", "backslashreplace").decode("unicode-escape") for t in literals}
    except (TemplateError, UnicodeDecodeError):  # it is refused when it is rendered
        return []
    return sorted(text for text in read if "%" in text and "\0" not in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
