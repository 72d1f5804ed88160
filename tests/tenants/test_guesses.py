"""How often something may be tried in vain."""

from __future__ import annotations

from typing import Any

import pytest

from tenants import guesses, keys, services
from tenants.actors import COMMAND
from tenants.errors import TooManyGuesses
from tenants.guesses import Guesses, place


def test_a_bucket_empties_and_fills() -> None:
    now = [100.0]
    found = Guesses(burst=2, per_s=0.5, clock=lambda: now[0])
    found.note("a")
    assert found.wait_s("a") == 0
    found.note("a")
    assert found.wait_s("a") == 2
    assert found.wait_s("b") == 0
    now[0] += 1.5
    assert found.wait_s("a") == 1
    now[0] += 0.5
    assert found.wait_s("a") == 0
    now[0] += 1000
    for _ in range(2):
        found.note("a")
    assert found.wait_s("a") == 2
    found.forget()
    assert found.wait_s("a") == 0


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "MOST_ADDRESSES", 2)
    found = Guesses(burst=1, per_s=0.001)
    for who in "abc":
        found.note(who)
    assert [found.wait_s(who) > 0 for who in "abc"] == [False, True, True]


def test_an_address_stands_for_its_network() -> None:
    assert place("10.0.0.1") == "10.0.0.1"
    assert place("2001:db8::1") == place("2001:db8::2:3:4:5") == "2001:0db8:0000:0000"
    assert place("nonsense") == "nonsense"


@pytest.mark.django_db
def test_wrong_keys_are_not_looked_up_for_ever(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "guesses", Guesses(burst=20, per_s=0.01))
    keys.forget()
    tenant = services.create_tenant(slug="acme", actor=COMMAND)
    _, known = services.create_api_key(tenant=tenant, actor=COMMAND)
    _, fresh = services.create_api_key(tenant=tenant, actor=COMMAND)
    wrong = known[:-1] + ("A" if known[-1] != "A" else "B")
    assert keys.authenticate(known, origin="10.0.0.1") is not None
    for _ in range(20):
        assert keys.authenticate(wrong, origin="10.0.0.1") is None
    with django_assert_num_queries(0), pytest.raises(TooManyGuesses) as caught:
        keys.authenticate(wrong, origin="10.0.0.1")
    assert caught.value.facts["retry_after"] in range(90, 101)
    keys.forget()
    assert keys.authenticate(known, origin="10.0.0.1") is not None  # known to be right lately
    with pytest.raises(TooManyGuesses):
        keys.authenticate(fresh, origin="10.0.0.1")
    assert keys.authenticate(fresh, origin="10.0.0.2") is not None
    # right elsewhere, so known here too
    keys.forget()
    assert keys.authenticate(fresh, origin="10.0.0.1") is not None
