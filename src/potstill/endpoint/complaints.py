"""What stops a whole run, each as one sentence with the way out. Never what a server wrote."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.errors import PotstillError
from potstill.recipe import EndpointConfig
from potstill.text.address import origin_of

_MOST_NAMED = 8


def no_server(config: EndpointConfig) -> PotstillError:
    """Nobody answers at the address."""
    return PotstillError(
        f"no server answers at {origin_of(config.url)}; start it, or check teacher.endpoint.url"
    )


def no_openai_server(config: EndpointConfig, found: str) -> PotstillError:
    """Something else answers there."""
    return PotstillError(
        f"the server at {origin_of(config.url)} is no OpenAI-compatible one ({found}); check "
        "teacher.endpoint.url, which usually ends in /v1"
    )


def reads_no_text(config: EndpointConfig, status: int) -> PotstillError:
    """It answers chats and has no place to send text to."""
    return PotstillError(
        f"the server at {origin_of(config.url)} reads no given text (completions gave status "
        f"{status}); take one that does (vLLM), or start over without teacher.endpoint.scores_text"
    )


def key_not_set(config: EndpointConfig) -> PotstillError:
    """The environment variable is not there."""
    return PotstillError(
        f"teacher.endpoint.key_env names {config.key_env}, but there is no such environment "
        "variable; set it to the server's key"
    )


def key_unusable(config: EndpointConfig) -> PotstillError:
    """The environment variable holds what no HTTP header may hold."""
    return PotstillError(
        f"the environment variable {config.key_env} holds no usable key: spaces, line breaks or "
        "characters outside ASCII are in it; set it again"
    )


def key_refused(config: EndpointConfig, status: int) -> PotstillError:
    """The server wants another key, or any."""
    origin = origin_of(config.url)
    if config.key_env is None:
        return PotstillError(
            f"the server at {origin} asks for a key (status {status}); put it in an environment "
            "variable and name that in teacher.endpoint.key_env"
        )
    return PotstillError(
        f"the server at {origin} refuses the key in {config.key_env} (status {status}); check "
        "that it is valid and may use this model"
    )


def unknown_model(
    config: EndpointConfig, model: str, offered: Sequence[str] | None
) -> PotstillError:
    """The server does not have the model."""
    there = f"the server at {origin_of(config.url)} has no model {model}"
    if not offered:
        return PotstillError(f"{there}; set teacher.model to the name it serves")
    named = ", ".join(offered[:_MOST_NAMED])
    more = len(offered) - _MOST_NAMED
    named += f" and {more} more" if more > 0 else ""
    return PotstillError(f"{there}; it offers {named}: set teacher.model to one of them")


def out_of_credit(config: EndpointConfig, status: int) -> PotstillError:
    """The account has nothing left."""
    return PotstillError(
        f"the server at {origin_of(config.url)} says that the account's credit is used up "
        f"(status {status}); add some, then run the same command again"
    )


def redirected(config: EndpointConfig, status: int) -> PotstillError:
    """The address has moved."""
    return PotstillError(
        f"the server at {origin_of(config.url)} redirects to another address (status {status}); "
        "set teacher.endpoint.url to the final one (https instead of http, perhaps)"
    )


def too_many_files(most_open: int | None, needed: int | None) -> PotstillError:
    """This process may open no further file, and so no connection."""
    limit = "the limit of open files" + ("" if most_open is None else f" ({most_open}, ulimit -n)")
    raised = "" if needed is None else f" to {needed} or more"
    return PotstillError(
        f"{limit} leaves no room for requests; raise it{raised}, or lower "
        "teacher.endpoint.max_in_flight, and run the same command again: what came is stored"
    )


def unbounded(config: EndpointConfig) -> PotstillError:
    """A budget cannot hold where a response may be of any length."""
    return PotstillError(
        "teacher.endpoint.extra takes max_tokens out of the request, so that no budget can hold; "
        "set max_completion_tokens there, or remove the budget"
    )
