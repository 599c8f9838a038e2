"""Sign-up with e-mail verification for Flask, as a JSON API."""

from .addresses import normalize_email
from .exceptions import (
    CodeInvalid,
    CompressedBody,
    ConfigurationError,
    DatabaseFault,
    DatabaseUnavailable,
    EmailNotSent,
    InvalidInput,
    LengthRequired,
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
from .mail.delivery import send_existing_account_email_notification, send_register_verification_email_notification
from .mail.messages import VerificationMail
from .model.pending import PendingRegistrationMixin
from .passwords import hash_password
from .serializers.schemas import DefaultRegisterUserSerializer, DefaultUserProfileSerializer, RegisterEmailSerializer
from .signals import user_activated, user_registered
from .signers import RegisterSigner

__all__ = [
    "CodeInvalid",
    "CompressedBody",
    "ConfigurationError",
    "DatabaseFault",
    "DatabaseUnavailable",
    "DefaultRegisterUserSerializer",
    "DefaultUserProfileSerializer",
    "EmailNotSent",
    "InvalidInput",
    "LengthRequired",
    "NotFound",
    "ParseError",
    "PendingRegistrationMixin",
    "RecipientRefused",
    "RegisterEmailSerializer",
    "RegisterSigner",
    "RequestRefused",
    "RequestTooLarge",
    "RestRegistration",
    "RestRegistrationError",
    "ServiceUnavailable",
    "SignatureExpired",
    "SignatureInvalid",
    "UnsupportedMediaType",
    "UserWithoutEmailNonverifiable",
    "VerificationMail",
    "hash_password",
    "normalize_email",
    "send_existing_account_email_notification",
    "send_register_verification_email_notification",
    "user_activated",
    "user_registered",
]
