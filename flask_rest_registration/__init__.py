"""Sign-up with e-mail verification for Flask, as a JSON API."""

from .addresses import normalize_email
from .exceptions import (
    ClaimInUse,
    ConfigurationError,
    DatabaseFault,
    DatabaseUnavailable,
    EmailNotSent,
    InvalidInput,
    NotFound,
    ParseError,
    RecipientRefused,
    RequestRefused,
    RequestTooLarge,
    RestRegistrationError,
    ServiceUnavailable,
    SignatureExpired,
    SignatureInvalid,
    UnsupportedMediaType,
    UserWithoutEmailNonverifiable,
)
from .extension import RestRegistration
from .notifications import (
    send_existing_account_email_notification,
    send_register_verification_email_notification,
)
from .serializers import DefaultRegisterUserSerializer, DefaultUserProfileSerializer
from .signals import user_activated, user_registered
from .signers import RegisterSigner, RejectionSigner

__all__ = [
    "ClaimInUse",
    "ConfigurationError",
    "DatabaseFault",
    "DatabaseUnavailable",
    "DefaultRegisterUserSerializer",
    "DefaultUserProfileSerializer",
    "EmailNotSent",
    "InvalidInput",
    "NotFound",
    "ParseError",
    "RecipientRefused",
    "RegisterSigner",
    "RejectionSigner",
    "RequestRefused",
    "RequestTooLarge",
    "RestRegistration",
    "RestRegistrationError",
    "ServiceUnavailable",
    "SignatureExpired",
    "SignatureInvalid",
    "UnsupportedMediaType",
    "UserWithoutEmailNonverifiable",
    "normalize_email",
    "send_existing_account_email_notification",
    "send_register_verification_email_notification",
    "user_activated",
    "user_registered",
]
