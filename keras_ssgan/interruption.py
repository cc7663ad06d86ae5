"""Ctrl-C and SIGTERM as a wish to stop, not as a blow."""

import signal
import threading
from typing import Any


class Interruption:
    """Notes the first SIGINT or SIGTERM within a `with`.

    A second one acts as if this were not here. Signals that are ignored stay
    so, and outside of the main thread nothing is noted.

    Attributes:
        signal: The `signal.Signals` that came; `None` so far.

    Example:

    ```python
    with Interruption() as interruption:
        while interruption.signal is None:
            step()
    ```
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _note(self, number, _):
        self.signal = signal.Signals(number)
        self.__exit__()
