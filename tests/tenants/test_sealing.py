"""Secrets that are kept encrypted."""

from __future__ import annotations

from typing import Any

import pytest

from tenants.sealing import Unreadable, seal, unseal


def test_only_the_same_key_and_purpose_read_it(settings: Any) -> None:
    old = settings.SECRET_KEY
    token = seal("hush", purpose="a")
    assert b"hush" not in token
    assert seal("hush", purpose="a") != token
    assert unseal(token, purpose="a") == "hush"
    with pytest.raises(Unreadable):
        unseal(token, purpose="b")
    with pytest.raises(Unreadable):
        unseal(token[:-4] + b"AAAA", purpose="a")
    settings.SECRET_KEY = "another" * 8
    with pytest.raises(Unreadable):
        unseal(token, purpose="a")
    settings.SECRET_KEY_FALLBACKS = [old]
    assert unseal(token, purpose="a") == "hush"
