"""potstill's own schema: columns with its very names."""

from __future__ import annotations

from typing import Any

from potstill.watch.ingest.fields import Fields
from potstill.watch.ingest.form import Mapped, TrafficForm
from potstill.watch.schema import REQUESTS, names_of

_FIELDS = names_of(REQUESTS)


def _sign(fields: Fields) -> Any:
    return fields["account_id"].notnull() & fields["time"].notnull()


def _mapped(fields: Fields) -> Mapped:
    columns = {name: fields[name] for name in _FIELDS if name != "account_id"}
    return Mapped(columns, {"account_id": fields["account_id"]})


OWN = TrafficForm(
    name="potstill",
    says="the columns of docs/reference/traffic.md",
    fields=_FIELDS,
    inner={},
    sign=_sign,
    mapped=_mapped,
)
