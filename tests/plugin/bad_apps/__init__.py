"""Applications that use the extension and make one mistake each, as it is made in the wild, and some that make none.

``BAD_APPS`` has them by name, each with the attack of ``flask_rest_registration.testing`` that finds its mistake;
``GOOD_APPS`` those on which no attack succeeds.
"""

from . import at_sign_up, pending
from .catalogue import BAD_APPS
from .good import GOOD_APPS, SENDERS, WAITING

__all__ = ["BAD_APPS", "GOOD_APPS", "SENDERS", "WAITING", "at_sign_up", "pending"]
