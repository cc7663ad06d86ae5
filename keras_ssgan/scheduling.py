"""How the operating system shares the processor among our threads."""

import contextlib
import os


def schedule_as_batch() -> None:
    """Asks that no thread interrupts another by waking up.

    For TensorFlow (2.21), on few cores. When the iterator of a `tf.data`
    pipeline goes, after each epoch, the thread that tunes the pipeline is woken
    first, and only then the flag is set that tells it to end
    (`CancellationManager::StartCancel`). If it runs at once, it finds no flag
    and goes back to sleep, and everything waits for it: for up to as long again
    as the epoch took, at most a minute.

    To be called before the threads are made, which inherit it. Only on Linux;
    elsewhere nothing happens.
    """
    if hasattr(os, "SCHED_BATCH"):
        # A container may forbid it.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
