"""From a link that came back to the account behind it."""

from __future__ import annotations

from collections.abc import Mapping

from .exceptions import SignatureExpired, SignatureInvalid
from .signers import LinkSigner
from .state import Registration


def account_behind(registration: Registration, kind: type[LinkSigner], link: Mapping[str, str]) -> object:
    """Return the account that a true link names; unknown accounts and wrong signatures are one answer.

    :param registration: the app's state.
    :param kind: what the link must have been signed for.
    :param link: ``user_id``, ``timestamp`` and ``signature`` as the client sent them.
    :returns: the account as it is now, read in a transaction that is still open.
    :raises SignatureInvalid: if the link is not true for an account as it is now.
    :raises SignatureExpired: if it is true but too old.
    """
    user = registration.accounts.find(link["user_id"])
    signer = kind(registration, user, timestamp=link["timestamp"])
    if not signer.accepts(link["signature"]) or user is None:
        raise SignatureInvalid
    if signer.has_expired():
        raise SignatureExpired
    return user
