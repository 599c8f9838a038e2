"""The links: what is signed, how it is checked, and the URL that carries it."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from typing import ClassVar, TypeVar
from urllib.parse import quote

from itsdangerous import Signer

from . import clock
from .exceptions import ConfigurationError
from .state import Registration, current_registration

Kind = TypeVar("Kind", bound="LinkSigner")


class LinkSigner:
    """Sign and check a link that proves control of an account's e-mail address; the base of the two kinds.

    The signature covers the account's id, the time and the address that the account has now: a link proves control
    of exactly that address. It is HMAC-SHA-256 with a key of its own, derived from SECRET_KEY and the salt.

    :param registration: the app's state.
    :param user: the account, or None to spend the time of a check on an account that does not exist.
    :param timestamp: when the link is or was made: seconds since the epoch, as text.
    """

    #: Keeps a signature made for one purpose from being accepted for another.
    salt: ClassVar[str]
    #: The setting with the front-end's page for this purpose.
    url_setting: ClassVar[str]

    def __init__(self, registration: Registration, user: object | None, *, timestamp: str) -> None:
        self._registration = registration
        self._timestamp = timestamp
        model, settings = registration.model, registration.settings
        self._user_id = model.link_id_of(user) if user is not None else ""
        address = model.address_of(user).lower() if user is not None else ""
        signed = [self._user_id, timestamp, address]
        if settings.register_verification_one_time_use:
            verified = user is not None and model.flag is not None and model.flag.is_set(user)
            signed.append("verified" if verified else "unverified")
        # A JSON array of texts is unambiguous: no value can be moved into its neighbour.
        self._message = json.dumps(signed)

    @classmethod
    def for_user(cls: type[Kind], user: object) -> Kind:
        """Make the signer of a stored account, for the current app.

        A claim's links have the time that the claim has, so that it is stale exactly when its last link has expired;
        any other account's have the time of now.

        :param user: the account.
        :returns: a signer whose time does not change any more.
        :raises ConfigurationError: if the app is not set up.
        """
        registration = current_registration()
        now, claim = clock.now(), registration.model.claim
        if claim is not None and claim.is_one(user):
            signer = cls(registration, user, timestamp=str(claim.sent_at.seconds_of(user)))
            # A script that writes to an old claim must not send a link that is dead already.
            if not signer.has_expired():
                return signer
        return cls(registration, user, timestamp=str(now))

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

        :returns: the setting that :attr:`url_setting` names.
        :raises ConfigurationError: if it is not set.
        """
        url: str | None = getattr(self._registration.settings, self.url_setting.lower())
        if url is None:
            raise ConfigurationError(
                f"REST_REGISTRATION setting {self.url_setting} is missing: give the URL of the page that the"
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
        signer = Signer(key, salt=self.salt, key_derivation="hmac", digest_method=hashlib.sha256)
        return signer.get_signature(self._message).decode()


class RegisterSigner(LinkSigner):
    """Sign and check the link that verifies an account's e-mail address."""

    salt = "flask_rest_registration.register_verification"
    url_setting = "REGISTER_VERIFICATION_URL"


class RejectionSigner(LinkSigner):
    """Sign and check the link "this was not me", which deletes a claim; as long-lived as the other one."""

    salt = "flask_rest_registration.register_rejection"
    url_setting = "REGISTER_REJECTION_URL"


def build_url(signer: LinkSigner) -> str:
    """Append the signed data to the base URL as a query string; the default VERIFICATION_URL_BUILDER.

    :param signer: gives base URL and data.
    :returns: the URL, with the query string and fragment that were there already.
    """
    url, hash_sign, fragment = signer.get_base_url().partition("#")
    separator = "?" if "?" not in url else "" if url.endswith(("?", "&")) else "&"
    added = "&".join(f"{name}={quote(value, safe='')}" for name, value in signer.get_signed_data().items())
    return f"{url}{separator}{added}{hash_sign}{fragment}"
