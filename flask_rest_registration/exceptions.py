"""The errors of the package: those for the developer, and those that clients get as an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from .translations.texts import gettext, gettext_noop

#: Texts for people by the name under which the client sent the field.
FieldErrors = Mapping[str, Sequence[str]]

#: The field name of what is wrong with the object as a whole.
WHOLE_OBJECT = "_schema"


class RestRegistrationError(Exception):
    """The base of every error that this package raises."""


class ConfigurationError(RestRegistrationError):
    """The application is set up wrongly; the text says what to change.

    :param faults: one text for each fault, naming the setting or column and the fix.
    """

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        lines = faults if len(faults) == 1 else [f"\n- {fault}" for fault in faults]
        super().__init__("".join(lines))


@contextmanager
def collecting(faults: list[str]) -> Iterator[None]:
    """Note the faults of a ``ConfigurationError`` instead of raising it, and go on after the block."""
    try:
        yield
    except ConfigurationError as error:
        faults += error.faults


class DatabaseFault(RestRegistrationError):
    """A statement failed for a reason that the application must fix.

    It replaces SQLAlchemy's error, whose text quotes parameters and, on PostgreSQL, the whole failing row with the
    password hash in it.

    :param description: the driver's error class, code and constraint; never the driver's text.
    """


class RequestRefused(RestRegistrationError):
    """An answer to the client other than success."""

    #: The HTTP status of the answer (RFC 9110).
    status = 400
    #: The slug for programs.
    code = "invalid"
    #: The text for people, in English.
    text: ClassVar[str] = gettext_noop("The data that you sent is not valid.")
    #: The headers that go with the answer.
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__(self.text)

    @property
    def detail(self) -> str:
        """The text for people, in the current language."""
        return gettext(self.text)

    def as_dict(self) -> dict[str, Any]:
        """Return the body of the answer: ``detail``, ``code`` and, for :class:`InvalidInput`, ``errors``.

        :returns: a dict that JSON can have.
        """
        return {"detail": self.detail, "code": self.code}


class InvalidInput(RequestRefused):
    """One or more fields were refused.

    :param errors: the field errors, by the name under which the client sent the field.
    """

    def __init__(self, errors: FieldErrors) -> None:
        super().__init__()
        self.errors = errors

    def as_dict(self) -> dict[str, Any]:
        """Return the body of the answer, with ``errors``.

        :returns: a dict that JSON can have.
        """
        return {**super().as_dict(), "errors": self.errors}


class ParseError(RequestRefused):
    """The body is not JSON in strict UTF-8 (RFC 8259)."""

    code = "parse-error"
    text: ClassVar[str] = gettext_noop("The body must be JSON in UTF-8.")


class LengthRequired(RequestRefused):
    """The body came in chunks, which the server in front does not hand on (RFC 9110, 15.5.12)."""

    status = 411
    code = "length-required"
    text: ClassVar[str] = gettext_noop("Send the body with the header Content-Length, and not in chunks.")


class RequestTooLarge(RequestRefused):
    """The body is over 64 KiB, or over the application's ``MAX_CONTENT_LENGTH``."""

    status = 413
    code = "request-too-large"
    text: ClassVar[str] = gettext_noop("The body is too large.")


class UnsupportedMediaType(RequestRefused):
    """The body is not announced as JSON, or it is compressed."""

    status = 415
    code = "unsupported-media-type"
    text: ClassVar[str] = gettext_noop("Send the body with the header Content-Type: application/json.")


class CompressedBody(UnsupportedMediaType):
    """The body has a Content-Encoding, such as gzip."""

    text: ClassVar[str] = gettext_noop("Send the body uncompressed, without the header Content-Encoding.")
    headers: ClassVar[Mapping[str, str]] = {"Accept-Encoding": "identity"}  # RFC 9110, section 15.5.16


class NotFound(RequestRefused):
    """The endpoint is switched off."""

    status = 404
    code = "not-found"
    text: ClassVar[str] = gettext_noop("Not found.")


class SignatureInvalid(RequestRefused):
    """The link is not one of this application for this account, or the account has changed since."""

    code = "signature-invalid"
    text: ClassVar[str] = gettext_noop("The link is not valid.")


class SignatureExpired(RequestRefused):
    """The link is older than ``REGISTER_VERIFICATION_PERIOD``."""

    code = "signature-expired"
    text: ClassVar[str] = gettext_noop("The link has expired.")


class CodeInvalid(RequestRefused):
    """The code is wrong, too old, not of the last mail, or was tried too often."""

    code = "code-invalid"
    text: ClassVar[str] = gettext_noop("The code is not valid.")


class UserWithoutEmailNonverifiable(RequestRefused):
    """Verification is on, and the new account has no e-mail address."""

    code = "user-without-email-nonverifiable"
    text: ClassVar[str] = gettext_noop("An account without an e-mail address cannot be verified.")


class ServiceUnavailable(RequestRefused):
    """Something that registration needs is out of reach; the same request may be sent again.

    :param reason: for the log, without addresses, links and the texts of servers.
    """

    status = 503
    #: Seconds: long enough for servers that start anew, short enough for people who wait.
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "60"}

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class EmailNotSent(ServiceUnavailable):
    """The mail could not be sent or queued; the same request may be sent again."""

    code = "email-not-sent"
    text: ClassVar[str] = gettext_noop("The e-mail could not be sent. Please try again later.")


class RecipientRefused(EmailNotSent):
    """The mail server refused the recipient for good, for a reason of the mailbox (RFC 3463: 5.1.x, 5.2.1)."""


class DatabaseUnavailable(ServiceUnavailable):
    """The database is out of reach, or conflicts did not end; the same request may be sent again."""

    code = "database-unavailable"
    text: ClassVar[str] = gettext_noop("The database is not available. Please try again later.")
