"""A circuit breaker: an engine that fails is left alone for a while, then asked once.

Source: Nygard 2007, Release It!, chapter 5, "Circuit Breaker".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

BreakerState = Literal["closed", "open", "half open"]

FAILURES_TO_OPEN = 3
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0


class Breaker:
    """Of one engine. ``clock`` is monotonic, in seconds: a jump of the wall clock is nothing.

    Closed: all requests pass, and ``FAILURES_TO_OPEN`` failures in a row open it; an engine
    that is not there opens it at once. Open: none pass for a pause, which doubles with every
    failed trial. Half open: one request passes as a trial; it closes or opens the breaker.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._on_trial = False

    @property
    def state(self) -> BreakerState:
        if self._opened_at is None:
            return "closed"
        return "open" if self.wait_seconds > 0 else "half open"

    @property
    def wait_seconds(self) -> float:
        """Until the next trial may be made; 0 where a request may pass now or is on trial."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._pause_seconds - self._clock())

    @property
    def passes(self) -> bool:
        """Whether ``enter`` may be called now."""
        return self._opened_at is None or (self.wait_seconds == 0 and not self._on_trial)

    def enter(self) -> None:
        """A request goes to the engine; half open, it is the trial."""
        if self._opened_at is not None:
            self._on_trial = True

    def succeeded(self) -> None:
        self._failures, self._opened_at, self._on_trial = 0, None, False
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def failed(self, *, gone: bool = False) -> None:
        """``gone``: nobody listens there, so that one failure is enough."""
        self._failures += 1
        if self._on_trial:
            self._pause_seconds = min(MAX_PAUSE_SECONDS, 2 * self._pause_seconds)
            self._open()
        elif self._opened_at is None and (gone or self._failures >= FAILURES_TO_OPEN):
            self._open()

    def unknown(self) -> None:
        """The client left before the engine showed how it is: the next one is the trial."""
        self._on_trial = False

    def _open(self) -> None:
        self._opened_at, self._on_trial = self._clock(), False
