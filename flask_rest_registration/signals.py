"""The two signals."""

from __future__ import annotations

from blinker import NamedSignal, Namespace

_namespace = Namespace()

#: Sent after the COMMIT of a registration: ``sender`` is the app, ``user`` and ``request`` are keywords.
user_registered: NamedSignal = _namespace.signal("user-registered")

#: Sent once when an account becomes verified, after the COMMIT; the arguments are those of :data:`user_registered`.
user_activated: NamedSignal = _namespace.signal("user-activated")
