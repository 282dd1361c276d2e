"""Ctrl-C that waits for the end of a call, so that no call is half counted."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class DeferredInterrupt:
    """Holds a first Ctrl-C back between `hold` and `release`; a second one comes through.

    Only where Python's own handler is installed, and in the main thread; elsewhere it does nothing.
    """

    def __init__(self) -> None:
        self._holding = False
        self._came = False
        self._installed = False

    def __enter__(self) -> DeferredInterrupt:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def hold(self) -> None:
        """Let a Ctrl-C wait from now on."""
        self._holding = True

    def release(self) -> None:
        """Raise the KeyboardInterrupt that waited, if there is one."""
        self._holding = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._holding and not self._came:
            self._came = True
            return
        self._came = False
        signal.default_int_handler(number, frame)
