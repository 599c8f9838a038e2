"""Links and codes: what is signed, how it is checked, and the URL that carries it."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode

from . import clock
from .exceptions import ConfigurationError
from .model.pending import PendingRegistrationMixin
from .state import Registration, current_registration

# A signature made for one purpose is accepted for no other.
_SALT_OF_ACCOUNTS = "flask_rest_registration.register_verification"
_SALT_OF_PENDING = "flask_rest_registration.pending_registration"
_SALT_OF_CODES = "flask_rest_registration.code"


class RegisterSigner:
    """Sign and check a link that proves control of an e-mail address.

    The signature covers the id, the time and the address of an account as it is now, or of a pending registration: a
    link proves control of exactly that address. It is HMAC-SHA-256 with a key of its own, derived from SECRET_KEY and
    a salt, which is another one for accounts and for pending registrations.

    :param registration: the app's state.
    :param user: the account or the pending registration; None to spend the time of a check where there is none.
    :param timestamp: when the link is or was made: seconds since the epoch, as text.
    """

    def __init__(self, registration: Registration, user: object | None, *, timestamp: str) -> None:
        self._registration = registration
        self._timestamp = timestamp
        self._salt, self._user_id, signed = _SALT_OF_ACCOUNTS, "", ["", timestamp, ""]
        if isinstance(user, PendingRegistrationMixin):
            self._salt, self._user_id = _SALT_OF_PENDING, str(user.id)
            signed = [self._user_id, timestamp, user.email]
        elif user is not None:
            model = registration.model
            self._user_id = model.link_id_of(user)
            signed = [self._user_id, timestamp, model.address_of(user).lower()]
        if registration.settings.register_verification_one_time_use and self._salt == _SALT_OF_ACCOUNTS:
            flag = registration.model.flag
            signed.append("verified" if user is not None and flag is not None and flag.is_set(user) else "unverified")
        # A JSON array of texts is unambiguous: no value can be moved into its neighbour.
        self._message = json.dumps(signed)

    @classmethod
    def for_user(cls, user: object) -> RegisterSigner:
        """Make the signer of a stored account or of a pending registration, for the current app.

        The link of a pending registration has the time of its last message, any other one has the time of now.

        :param user: the account or the pending registration.
        :returns: a signer whose time does not change any more.
        :raises ConfigurationError: if the app is not set up.
        """
        made = user.sent_at if isinstance(user, PendingRegistrationMixin) else clock.now()
        return cls(current_registration(), user, timestamp=str(made))

    def get_signed_data(self) -> dict[str, str]:
        """Return what a front-end has to send back.

        :returns: ``user_id``, ``timestamp`` (seconds since the epoch) and ``signature``.
        :raises ConfigurationError: if there is no SECRET_KEY.
        """
        return {
            "user_id": self._user_id,
            "timestamp": self._timestamp,
            "signature": self._signature(self._registration.secret_keys[-1]),
        }

    def get_base_url(self) -> str:
        """Return the front-end's page.

        :returns: REGISTER_VERIFICATION_URL.
        :raises ConfigurationError: if it is not set.
        """
        url = self._registration.settings.register_verification_url
        if url is None:
            raise ConfigurationError(
                "REST_REGISTRATION setting REGISTER_VERIFICATION_URL is missing: give the URL of the page that the"
                " link in the mail leads to, such as 'https://example.com/verify-user/'."
            )
        return url

    def get_url(self) -> str:
        """Return the whole link, as VERIFICATION_URL_BUILDER makes it.

        :returns: an absolute URL.
        :raises ConfigurationError: if the page's URL or SECRET_KEY is not set.
        """
        return self._registration.settings.verification_url_builder(self)

    def get_valid_until(self) -> datetime:
        """Return when the link expires.

        :returns: a time in UTC.
        """
        made = datetime.fromtimestamp(int(self._timestamp), timezone.utc)
        return made + self._registration.settings.register_verification_period

    def accepts(self, signature: str) -> bool:
        """Check a signature against SECRET_KEY and SECRET_KEY_FALLBACKS, in constant time.

        Only the one spelling that we make ourselves is accepted: a decoder of base64 reads several as the same.

        :param signature: what the client sent.
        :returns: whether one of the keys made it.
        """
        given = signature.encode("utf-8", "replace")
        matches = [hmac.compare_digest(self._signature(key).encode(), given) for key in self._registration.secret_keys]
        return any(matches)

    def has_expired(self) -> bool:
        """Tell whether the link is older than REGISTER_VERIFICATION_PERIOD.

        :returns: False also for a link from a clock ahead of ours.
        """
        age = timedelta(seconds=clock.now() - int(self._timestamp))
        return age > self._registration.settings.register_verification_period

    def _signature(self, key: str | bytes) -> str:
        return _signature(key, self._salt, self._message)


def make_code(registration: Registration, row: PendingRegistrationMixin) -> str:
    """Return the code of a pending registration's last message.

    It is made, not stored: of its id, its address and the time of the message.

    :param registration: the app's state.
    :param row: the pending registration.
    :returns: REGISTER_VERIFICATION_CODE_LENGTH digits.
    :raises ConfigurationError: if there is no SECRET_KEY.
    """
    return _code(registration, row, registration.secret_keys[-1])


def accepts_code(registration: Registration, row: PendingRegistrationMixin, code: str) -> bool:
    """Check a code against SECRET_KEY and SECRET_KEY_FALLBACKS, in constant time.

    :param registration: the app's state.
    :param row: the pending registration of the address that the code was sent with.
    :param code: what the client sent, digits only.
    :returns: whether one of the keys made it.
    """
    matches = [hmac.compare_digest(_code(registration, row, key), code) for key in registration.secret_keys]
    return any(matches)


def _code(registration: Registration, row: PendingRegistrationMixin, key: str | bytes) -> str:
    length = registration.settings.register_verification_code_length
    signature = _signature(key, _SALT_OF_CODES, json.dumps([str(row.id), row.sent_at, row.email]))
    number = int.from_bytes(base64_decode(signature), "big")  # of 256 bits: no remainder is likelier than another
    return str(number % 10**length).zfill(length)


def _signature(key: str | bytes, salt: str, message: str) -> str:
    signer = Signer(key, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
    return signer.get_signature(message).decode()


def build_url(signer: RegisterSigner) -> str:
    """Append the signed data to the base URL as a query string; the default VERIFICATION_URL_BUILDER.

    :param signer: gives base URL and data.
    :returns: the URL, with the query string and fragment that were there already.
    """
    url, hash_sign, fragment = signer.get_base_url().partition("#")
    separator = "?" if "?" not in url else "" if url.endswith(("?", "&")) else "&"
    added = "&".join(f"{name}={quote(value, safe='')}" for name, value in signer.get_signed_data().items())
    return f"{url}{separator}{added}{hash_sign}{fragment}"
