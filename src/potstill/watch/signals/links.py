"""Infrastructure: what accounts have in common beside their requests."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from potstill.watch.signals.traffic import Traffic

# What strangers in one room do not share, and what they do.
MEANS = ("payment", "device", "relay")
PLACES = ("subnet", "email_domain", "client network")
# Tested with places, and joining nobody: so many strangers sign up in one hour.
TOGETHER = "opened together"
_HOUR_US = 3_600_000_000
# Accounts of so many time zones behind one network are no office and no school.
_ZONES = 3
_COLUMNS = {
    "payment": "shared payment",
    "device": "shared device",
    "subnet": "shared network of accounts",
    "email_domain": "shared e-mail domain",
}


def links(traffic: Traffic) -> ir.Table:
    """Links: the one value that each party has of each kind. Columns `kind`, `value`, `party`.

    Kinds are payment, device, subnet and e-mail domain of the table of accounts, and the network
    that most of a party's requests came from: a `relay` where parties of three time zones or more
    come from it, a `client network` where they do not; and the hour in which an account was opened.
    Of a tenant with several values the first by name stands.

    Catches: accounts that were opened or are paid by one hand; a proxy. Looks the same: an office,
    a school, a carrier, a course that signs up in one hour (networks, domains and that hour:
    *places*, which count only beside what a place does not explain), a family's card. Evaded by
    own cards and devices. A value is worth the less, the more parties have it (`SharedValues`).
    """
    # Whoever asked nothing in these days is no party yet, whatever the table of accounts says.
    accounts = traffic.accounts.semi_join(traffic.requests, "party")
    kinds = [
        accounts.filter(accounts[name].notnull())
        .group_by("party")
        .aggregate(value=accounts[name].min())
        .mutate(kind=ibis.literal(name))
        .select("kind", "value", "party")
        for name, signal in _COLUMNS.items()
        if traffic.is_on(signal)
    ]
    if traffic.is_on("shared client address"):
        kinds.append(_networks(traffic))
    if traffic.is_on("accounts opened together"):
        opened = accounts.filter(accounts.opened.notnull()).mutate(
            hour=(accounts.opened // _HOUR_US).cast("string")
        )
        first = opened.group_by("party").aggregate(value=opened.hour.min())
        kinds.append(
            first.select(kind=ibis.literal(TOGETHER), value=first.value, party=first.party)
        )
    if not kinds:
        none = pa.schema([(name, pa.string()) for name in ("kind", "value", "party")])
        return traffic.engine.named("ps_no_links", none.empty_table())
    return ibis.union(*kinds) if len(kinds) > 1 else kinds[0]


def _networks(traffic: Traffic) -> ir.Table:
    requests = traffic.requests.filter(traffic.requests.client_subnet.notnull())
    counts = requests.group_by("party", "client_subnet").aggregate(n=requests.count())
    ranked = counts.mutate(
        place=ibis.row_number().over(
            group_by=counts.party, order_by=[counts.n.desc(), counts.client_subnet]
        )
    )
    main = ranked.filter(ranked.place == 0).select("party", value=ranked.client_subnet)
    zones = requests.group_by(value=requests.client_subnet).aggregate(
        zones=requests.timezone.nunique()
    )
    found = main.left_join(zones, "value").drop("value_right")
    kind = ibis.ifelse(found.zones >= _ZONES, "relay", "client network")
    return found.select(kind=kind, value=found.value, party=found.party)


def strata(traffic: Traffic) -> ir.Table:
    """Return each party's time zone and the product that it uses most.

    Columns `party`, `zone`, `used`.
    """
    requests = traffic.requests
    product = requests["product"].fill_null("")
    zone = requests.timezone.fill_null("")
    counts = requests.group_by("party", zone=zone, used=product).aggregate(n=requests.count())
    ranked = counts.mutate(
        place=ibis.row_number().over(
            group_by=counts.party, order_by=[counts.n.desc(), counts.zone, counts.used]
        )
    )
    top = ranked.filter(ranked.place == 0)
    return top.select("party", "zone", "used").order_by("party")
