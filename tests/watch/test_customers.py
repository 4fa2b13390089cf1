"""Customers who declared no tenant are told from strangers on one card."""

from __future__ import annotations

import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from potstill.watch.customers import Customers

TEN = [f"a:{n}" for n in range(10)]
ZONES = ("Berlin", "Paris", "Tokyo")


def known(
    payment: dict[str, str],
    domain: dict[str, str] | None = None,
    zone: dict[str, str] | None = None,
) -> Customers:
    rows = [
        {"kind": kind, "value": value, "party": party}
        for kind, values in (("payment", payment), ("email_domain", domain or {}))
        for party, value in values.items()
    ]
    # Strangers with a provider's mail.
    rows += [{"kind": "email_domain", "value": "mail", "party": f"a:x{n}"} for n in range(200)]
    return Customers.of(rows, zone or dict.fromkeys(TEN, "Berlin"), 100)


def test_one_card_in_one_zone_is_one_customer() -> None:
    card = dict.fromkeys(TEN, "card")
    assert known(card).is_one(TEN)
    assert known(card, dict.fromkeys(TEN, "mail")).is_one(TEN)
    # Two keys without a card change nothing.
    assert known(dict.fromkeys(TEN[:8], "card")).is_one(TEN)


def test_one_card_for_many_zones_or_companies_is_none() -> None:
    card = dict.fromkeys(TEN, "card")
    spread = {party: ZONES[n % 3] for n, party in enumerate(TEN)}
    assert not known(card, zone=spread).is_one(TEN)
    companies = {party: f"firm{n}.example" for n, party in enumerate(TEN)}
    assert not known(card, companies).is_one(TEN)


def test_one_domain_is_one_customer_in_any_zone_unless_it_is_a_providers() -> None:
    spread = {party: ZONES[n % 3] for n, party in enumerate(TEN)}
    own = {party: f"card{n}" for n, party in enumerate(TEN)}
    assert known(own, dict.fromkeys(TEN, "firm.example"), spread).is_one(TEN)
    assert not known(own, dict.fromkeys(TEN, "mail"), spread).is_one(TEN)


def test_customers_of_one_harness_are_several() -> None:
    cards = {party: f"card{n // 5}" for n, party in enumerate(TEN)}
    zones = {party: ZONES[n // 5] for n, party in enumerate(TEN)}
    assert known(cards, zone=zones).are_several(TEN)
    assert not known(cards, zone=zones).is_one(TEN)
    mixed = {party: ZONES[n % 3] for n, party in enumerate(TEN)}
    assert not known(cards, zone=mixed).are_several(TEN)
    # Nobody has anything in common.
    assert not known({party: party for party in TEN}).are_several(TEN)


def test_nobody_fits_no_customer() -> None:
    customers = known(dict.fromkeys(TEN, "card"))
    assert not customers.is_one([]) and not customers.are_several([])
