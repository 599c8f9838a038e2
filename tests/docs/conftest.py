from __future__ import annotations

import secrets

import pytest


@pytest.fixture(autouse=True)
def key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the programs of the pages what they sign with."""
    monkeypatch.setenv("SECRET_KEY", secrets.token_hex())
