"""What a recipe states of servers and permissions, for the layers that know no recipe."""

from __future__ import annotations

from potstill.endpoint.settings import ServerSettings, SettingNames
from potstill.recipe import EndpointConfig, StudentConfig, TermsConfig
from potstill.terms.gate import Stated
from potstill.terms.use import Use

_NAMES = SettingNames.under("teacher.endpoint", model="teacher.model")


def server_settings(endpoint: EndpointConfig, names: SettingNames = _NAMES) -> ServerSettings:
    """Return how a server is asked, with what its user calls each setting.

    How many requests it permits in a minute is a plan's, which counts on no more.
    """
    asked = {name: value for name, value in endpoint if name != "requests_per_minute"}
    return ServerSettings(names=names, **asked)


def permission(terms: TermsConfig, student: StudentConfig, section: str = "teacher") -> Stated:
    """Return what a section (`teacher`, `collect.calls`) states of permission to use outputs.

    With what the student is for, which terms may ask.
    """
    use = Use(student.intent, student.kind)
    return Stated(terms.authorisation, setting=f"{section}.terms.authorisation", use=use)
