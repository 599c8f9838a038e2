"""Links and codes: what is signed, how it is checked, and the URL that carries it."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

from flask import Flask
from itsdangerous import Signer
from itsdangerous.encoding import base64_decode

from . import clock
from .exceptions import ConfigurationError
from .model.pending import PendingRegistrationMixin
from .state import AppState, current_state

# A signature made for one purpose is accepted for no other.
_SALT_OF_ACCOUNTS = "flask_rest_registration.register_verification"
_SALT_OF_PENDING = "flask_rest_registration.pending_registration"
_SALT_OF_CODES = "flask_rest_registration.code"

# RFC 2104, section 3, asks for a key as long as the hash's output (SHA-256: 32 bytes); half of that is refused.
_SHORTEST_KEY = 16
_KEY_FIX = "Fix: set it to the output of python -c 'import secrets; print(secrets.token_hex())'."

#: Keys that this package's documentation shows, or has shown.
DOCUMENTED_KEYS = (
    "replace this: it signs the links",
    "a key for this page's examples",
    "the new key, from: python -c 'import secrets; print(secrets.token_hex())'",
)


class RegisterSigner:
    """Sign and check a link that proves control of an e-mail address.

    The signature covers the id, the time and the present address of an account or a pending registration: a link
    proves control of exactly that address. It is HMAC-SHA-256. Its key is derived from SECRET_KEY and a salt, one for
    accounts and another for pending registrations.

    :param state: what the extension keeps of the app.
    :param user: the account or the pending registration; None to spend the time of a check where there is none.
    :param timestamp: when the link is or was made: seconds since the epoch, as text.
    """

    def __init__(self, state: AppState, user: object | None, *, timestamp: str) -> None:
        self._state = state
        self._timestamp = timestamp
        self._salt, self._user_id, signed = _SALT_OF_ACCOUNTS, "", ["", timestamp, ""]
        if isinstance(user, PendingRegistrationMixin):
            self._salt, self._user_id = _SALT_OF_PENDING, str(user.id)
            signed = [self._user_id, timestamp, user.email]
        elif user is not None:
            link_id = getattr(user, state.model.link_id.name)
            self._user_id = "" if link_id is None else str(link_id)
            signed = [self._user_id, timestamp, address_of(state, user).lower()]
        if state.settings.register_verification_one_time_use and self._salt == _SALT_OF_ACCOUNTS:
            flag = state.model.flag
            signed.append("verified" if user is not None and flag is not None and flag.is_set(user) else "unverified")
        # A JSON array of texts is unambiguous: no value can be moved into its neighbour.
        self._signed = json.dumps(signed)

    @classmethod
    def for_user(cls, user: object) -> RegisterSigner:
        """Make the signer of a stored account or of a pending registration, for the current app.

        The link of a pending registration has the time of its last mail, any other one has the time of now.

        :param user: the account or the pending registration.
        :returns: a signer whose time does not change any more.
        :raises ConfigurationError: if the app is not set up.
        """
        return signer_for(current_state(), user)

    def get_signed_data(self) -> dict[str, str]:
        """Return what a front end has to send back.

        :returns: ``user_id``, ``timestamp`` (seconds since the epoch) and ``signature``.
        :raises ConfigurationError: if there is no SECRET_KEY, or the account has no id yet.
        """
        if not self._user_id:
            model = self._state.model
            raise ConfigurationError(
                f"This {model.name} has no {model.link_id.name} yet, so that its link would lead to nobody. Fix: add it"
                " to db.session and flush() before its link is made."
            )
        return {
            "user_id": self._user_id,
            "timestamp": self._timestamp,
            "signature": _signature(secret_keys(self._state.app)[-1], self._salt, self._signed),
        }

    def get_base_url(self) -> str:
        """Return the front end's page.

        :returns: REGISTER_VERIFICATION_URL.
        :raises ConfigurationError: if it is not set.
        """
        url = self._state.settings.register_verification_url
        if url is None:
            raise ConfigurationError(
                "REST_REGISTRATION setting REGISTER_VERIFICATION_URL is missing. Fix: give the URL of the page that the"
                " link in the mail leads to, such as 'https://example.com/verify-user/'."
            )
        return url

    def get_url(self) -> str:
        """Return the whole link, as VERIFICATION_URL_BUILDER makes it.

        :returns: an absolute URL.
        :raises ConfigurationError: if the page's URL or SECRET_KEY is not set.
        """
        return self._state.settings.verification_url_builder(self)

    def get_valid_until(self) -> datetime:
        """Return when the link expires.

        :returns: a time in UTC.
        """
        made = datetime.fromtimestamp(int(self._timestamp), timezone.utc)
        return made + self._state.settings.register_verification_period

    def accepts(self, signature: str) -> bool:
        """Check a signature against SECRET_KEY and SECRET_KEY_FALLBACKS, in constant time.

        Only the one spelling that we make ourselves is accepted: a decoder of base64 reads several as the same.

        :param signature: what the client sent.
        :returns: whether one of the keys made it.
        """
        given, keys = signature.encode("utf-8", "replace"), secret_keys(self._state.app)
        matches = [hmac.compare_digest(_signature(key, self._salt, self._signed).encode(), given) for key in keys]
        return any(matches)  # only now, so that the time does not tell which key it was

    def has_expired(self) -> bool:
        """Tell whether the link is older than REGISTER_VERIFICATION_PERIOD.

        :returns: False also for a link from a clock ahead of ours.
        """
        age = timedelta(seconds=int(clock.now()) - int(self._timestamp))
        return age > self._state.settings.register_verification_period


def signer_for(state: AppState, user: object) -> RegisterSigner:
    """Do what :meth:`RegisterSigner.for_user` does, for any app."""
    made = user.sent_at if isinstance(user, PendingRegistrationMixin) else int(clock.now())
    return RegisterSigner(state, user, timestamp=str(made))


def address_of(state: AppState, user: object) -> str:
    """Return the address of an account or a pending registration; empty if it has none."""
    name = "email" if isinstance(user, PendingRegistrationMixin) else state.model.email.name
    return getattr(user, name) or ""


def make_code(state: AppState, row: PendingRegistrationMixin) -> str:
    """Return the code of a row's last mail: it is not stored, but made of the row's id, its address and that time."""
    return _code(state, row, secret_keys(state.app)[-1])


def accepts_code(state: AppState, row: PendingRegistrationMixin, code: str) -> bool:
    """Check a code against SECRET_KEY and SECRET_KEY_FALLBACKS, in constant time."""
    matches = [hmac.compare_digest(_code(state, row, key), code) for key in secret_keys(state.app)]
    return any(matches)


def secret_keys(app: Flask, *, lenient: bool | None = None) -> list[str | bytes]:
    """Return SECRET_KEY_FALLBACKS and SECRET_KEY, which comes last and signs, as they are now.

    They are read each time, as Flask does for its sessions: a key that is dropped must verify no link any more.

    :param lenient: whether keys that can be guessed pass; by default while TESTING or DEBUG is on.
    :raises ConfigurationError: if there is no SECRET_KEY, SECRET_KEY_FALLBACKS is no list, or a key is none.
    """
    key, fallbacks = app.config.get("SECRET_KEY"), app.config.get("SECRET_KEY_FALLBACKS") or ()
    if lenient is None:  # by the text "False", as an environment has it, nothing is meant to be on
        lenient = True in (app.testing, app.debug)
    if not key:
        raise ConfigurationError(f"SECRET_KEY is not set, so that no link can be signed. {_KEY_FIX}")
    if not isinstance(fallbacks, (list, tuple)):  # each character of a text would be a key
        kind = type(fallbacks).__name__
        raise ConfigurationError(f"SECRET_KEY_FALLBACKS must be a list of keys, not {kind}. Fix: put them into a list.")
    keys, faults = [*fallbacks, key], []
    for each in keys:
        if not isinstance(each, (str, bytes)):
            faults.append(f"is neither text nor bytes but {type(each).__name__}")
        elif lenient:
            continue
        elif len(each) < _SHORTEST_KEY:
            faults.append(f"has {len(each)} characters: it can be guessed, and links forged with it")
        elif (each if isinstance(each, str) else each.decode("latin-1")) in DOCUMENTED_KEYS:
            faults.append("stands in this package's documentation: everybody can forge links with it")
    if faults:
        raise ConfigurationError(
            *(f"SECRET_KEY (or one of SECRET_KEY_FALLBACKS) {fault}. {_KEY_FIX}" for fault in faults)
        )
    return keys


def key_faults(app: Flask) -> list[str]:
    """Return what is wrong with an app's keys, each with its fix, whether or not TESTING or DEBUG is on."""
    try:
        secret_keys(app, lenient=False)
    except ConfigurationError as error:
        return list(error.faults)
    return []


def _code(state: AppState, row: PendingRegistrationMixin, key: str | bytes) -> str:
    length = state.settings.register_verification_code_length
    signature = _signature(key, _SALT_OF_CODES, json.dumps([str(row.id), row.sent_at, row.email]))
    number = int.from_bytes(base64_decode(signature), "big")  # of 256 bits: no remainder is likelier than another
    return str(number % 10**length).zfill(length)


def _signature(key: str | bytes, salt: str, signed: str) -> str:
    signer = Signer(key, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
    return signer.get_signature(signed).decode()


def build_url(signer: RegisterSigner) -> str:
    """Append the signed data to the base URL as a query string; the default VERIFICATION_URL_BUILDER.

    :param signer: gives base URL and data.
    :returns: the URL, with the query string and fragment that were there already.
    """
    url, hash_sign, fragment = signer.get_base_url().partition("#")
    separator = "?" if "?" not in url else "" if url.endswith(("?", "&")) else "&"
    added = "&".join(f"{name}={quote(value, safe='')}" for name, value in signer.get_signed_data().items())
    return f"{url}{separator}{added}{hash_sign}{fragment}"
