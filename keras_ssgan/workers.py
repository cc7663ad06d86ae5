"""Objects in processes of their own, each under a backend of its own."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from typing import Any
from typing import Self

from keras_ssgan import backends
from keras_ssgan.errors import InputError
from keras_ssgan.scheduling import schedule_as_batch


class Worker:
    """This end of a process that holds an object, and waits for its turns.

    Keras settles its backend once in a process, so that whoever compares
    backends needs several. The process ends with the `with`.

    Args:
        backend: Keras' backend there.
        make: Class or function that makes the object, of a module which does
            not import Keras by itself.
        *args: Its arguments.

    Example:

    ```python
    compact = get_preset("compact")
    with Worker(
        "jax", Training, "compact", compact, "float32", compact.batch_size
    ) as worker:
        seconds = worker.ask("train", 20)
    ```
    """

    def __init__(
        self, backend: str, make: Callable[..., Any], *args: Any
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._backend = backend
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, backend, make, args), daemon=True
        )
        self._process.start()
        other.close()

    def ask(self, method: str, *args: Any) -> Any:
        """Calls a method of the object there.

        Args:
            method: Its name.
            *args: Its arguments.

        Returns:
            What it returns.

        Raises:
            InputError: If it, or the making of the object, raises one; or if
                the process has been ended from outside.
            RuntimeError: If either raises anything else, with its traceback.
        """
        try:
            self._connection.send((method, args))
            result = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise InputError(
                f"the process under {self._backend} was ended from outside "
                f"(exit code {self._process.exitcode}), perhaps for want of "
                "memory; give it less to do"
            ) from None
        if isinstance(result, Exception):
            raise result
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._connection.close()
        self._process.join()


def _serve(connection, backend, make, args):
    # As `keras-ssgan train` is: threads that interrupt each other on a few
    # cores can take half as long again, now and then.
    schedule_as_batch()
    backends.set_environment(backend)
    # Otherwise the first process takes all memory of a GPU.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    made = None
    while True:
        try:
            method, method_args = connection.recv()
        # Ctrl-C reaches all processes of a terminal; the other end says so.
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if made is None:
                made = make(*args)
            result = getattr(made, method)(*method_args)
        except KeyboardInterrupt:
            return
        except InputError as error:
            result = error
        except Exception:
            # Tracebacks cannot be sent, and some exceptions neither.
            result = RuntimeError(f"{backend}:\n{traceback.format_exc()}")
        connection.send(result)
