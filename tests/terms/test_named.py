"""What somebody may name whose terms are asked for."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillError
from potstill.terms.named import terms_of


@pytest.mark.parametrize("address", ["http://[::1", "https://", "https:///v1"])
def test_the_address_of_no_server_is_one_sentence(address: str) -> None:
    with pytest.raises(PotstillError, match="is the address of no server"):
        terms_of(address)
