"""Refusing passwords that are known from data breaches, by the Pwned Passwords service of Have I Been Pwned.

NIST SP 800-63B demands this check (section 5.1.1.2; in revision 4, 3.1.1.2). PASSWORD_VALIDATORS replaces the
default validators, so name them too::

    "PASSWORD_VALIDATORS": [
        "flask_rest_registration.passwords.validate_length",
        "flask_rest_registration.passwords.validate_strength",
        "flask_rest_registration.contrib.hibp.validate_not_pwned",
    ]
"""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any, cast
from urllib.parse import urlsplit

from marshmallow import ValidationError

from ..mail.delivery import Deadline, connect, tls_context
from ..translations.texts import gettext

_log = logging.getLogger(__name__)

_LARGEST_ANSWER = 2**19  # bytes; a padded answer has 800 to 1,000 lines of about 40 bytes, a long one 2,000
_ENTRY = re.compile(rb"([0-9A-Fa-f]{35}):([0-9]{1,12})")
_URL = re.compile(r"https?://[^/?#@\s]+(?:/[!-\"$->@-~]*)?")


class _UnusableAnswer(Exception):
    """The service's answer is no range; the text quotes nothing of it."""


class _Connection(HTTPConnection):
    """A connection with one deadline for the whole exchange; http.client's time-out is for each socket operation."""

    def __init__(self, host: str, port: int, *, deadline: Deadline, tls: ssl.SSLContext | None) -> None:
        self.default_port = 443 if tls else 80  # the Host header leaves it out
        self._deadline, self._tls = deadline, tls
        super().__init__(host, port)

    def connect(self) -> None:
        self.sock = cast(Any, connect(self.host, self.port, self._deadline))
        if self._tls:
            self.sock = cast(Any, self.sock.encrypted(self._tls, self.host))


class PwnedPasswordValidator:
    """A password validator that asks the range interface of Pwned Passwords, or a mirror of it.

    Only the first 5 of the 40 hexadecimal characters of the password's SHA-1 leave the machine, and padding keeps the
    answer's length from revealing them (https://haveibeenpwned.com/API/v3#PwnedPasswords). The certificate of an https
    service is verified, and redirects are not followed. Proxies in environment variables are ignored, since under CGI
    a request's ``Proxy`` header becomes one.

    It fails open: when the service gives no range in time, the password passes, and the logger
    ``flask_rest_registration.contrib.hibp`` gets a WARNING without password and hash.

    :param url: where the ranges are, http or https; the five characters are appended to its path.
    :param timeout: seconds for the whole exchange, at most 60, from connecting to the last byte. The look-up of the
        host's name is the operating system's and may take longer.
    :raises ValueError: if the URL or the time-out cannot be used.
    """

    def __init__(self, *, url: str = "https://api.pwnedpasswords.com/range/", timeout: float = 2.0) -> None:
        if not _URL.fullmatch(url):
            raise ValueError("url must be like 'https://mirror.example/range/', without user, query and fragment")
        if not 0 < timeout <= 60:
            raise ValueError("timeout must be a number of seconds, more than 0 and at most 60")
        parts = urlsplit(url)
        self._is_secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._is_secure else 80)
        self._path = parts.path.rstrip("/") + "/"
        self._timeout = timeout
        self._tls_context: ssl.SSLContext | None = None

    def __call__(self, password: str, user_data: Mapping[str, object]) -> None:
        """Refuse a password that is in a known breach.

        :param password: the password as it was sent.
        :param user_data: not used.
        :raises marshmallow.ValidationError: if it is.
        """
        # Half a surrogate pair has no UTF-8; it is in no breach, and the codec's error would quote the password.
        encoded = password.encode("utf-8", "surrogatepass")
        digest = hashlib.sha1(encoded, usedforsecurity=False).hexdigest().upper()
        try:
            is_pwned = self._times_seen(digest) > 0
        except (OSError, HTTPException, ValueError, _UnusableAnswer) as error:
            # ValueError: the host's name has no IDNA form. Only the texts of our own error surely quote nothing.
            reason = str(error) if isinstance(error, _UnusableAnswer) else type(error).__name__
            _log.warning("Pwned Passwords could not be asked, a password was not looked up: %s", reason)
            return
        if is_pwned:
            raise ValidationError(
                gettext("This password is known from a data breach, so attackers try it early. Choose another one.")
            )

    def _times_seen(self, digest: str) -> int:
        prefix, suffix = digest[:5], digest[5:].encode()
        entries = [_ENTRY.fullmatch(line) for line in self._range(prefix).splitlines()]
        if not entries or None in entries:
            raise _UnusableAnswer("the answer is not a list of hashes and counts")
        # Lines that were added as padding have the count 0.
        return max((int(entry[2]) for entry in entries if entry and entry[1].upper() == suffix), default=0)

    def _range(self, prefix: str) -> bytes:
        tls = self._tls_context = tls_context(self._tls_context) if self._is_secure else None
        headers = {"Add-Padding": "true", "User-Agent": "flask-rest-registration", "Connection": "close"}
        body = bytearray(_LARGEST_ANSWER + 1)
        with closing(_Connection(self._host, self._port, deadline=Deadline(self._timeout), tls=tls)) as connection:
            connection.request("GET", self._path + prefix, headers=headers)
            with connection.getresponse() as response:
                if response.status != 200:
                    raise _UnusableAnswer(f"the status is {response.status}")
                # Not read(n), which reads a chunk of negative length without end.
                length = response.readinto(body)
                if length > _LARGEST_ANSWER or response.length:  # some of it did not fit or did not come
                    raise _UnusableAnswer("the answer is too long or was cut off")
        return bytes(body[:length])


#: The validator for PASSWORD_VALIDATORS that asks https://api.pwnedpasswords.com within 2 seconds.
validate_not_pwned: PwnedPasswordValidator = PwnedPasswordValidator()
