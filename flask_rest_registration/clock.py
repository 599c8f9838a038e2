"""The one source of time, so that tests can replace it."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Returns the time: seconds since the Unix epoch, UTC.
now: Callable[[], float] = time.time
