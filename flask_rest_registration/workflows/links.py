"""From a link that came back to the account behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..exceptions import SignatureExpired, SignatureInvalid
from ..serializers.schemas import VerifyRegistrationSerializer, load
from ..signers import RegisterSigner
from ..state import Registration

_serializer = VerifyRegistrationSerializer()  # without fields of any app, and without state


def load_link(sent: Any) -> Mapping[str, str]:
    """Load what a link's page sends back, whatever the link is for.

    :param sent: the parsed JSON.
    :returns: ``user_id``, ``timestamp`` and ``signature`` as the client sent them.
    :raises InvalidInput: if one is missing or of the wrong kind.
    """
    loaded: Mapping[str, str] = load(_serializer, sent)
    return loaded


def account_behind(registration: Registration, link: Mapping[str, str]) -> object:
    """Return the account that a true link names; unknown accounts and wrong signatures are one answer.

    :param registration: the app's state.
    :param link: as :func:`load_link` gives it.
    :returns: the account as it is now, read in a transaction that is still open.
    :raises SignatureInvalid: if the link is not true for an account as it is now.
    :raises SignatureExpired: if it is true but too old.
    """
    user = registration.accounts.find(link["user_id"])
    signer = RegisterSigner(registration, user, timestamp=link["timestamp"])
    if not signer.accepts(link["signature"]) or user is None:
        raise SignatureInvalid
    if signer.has_expired():
        raise SignatureExpired
    return user
