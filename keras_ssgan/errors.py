"""The exceptions whose message is all that the user needs."""


class InputError(ValueError):
    """Something the user gave is wrong; the message says how to mend it.

    The command line prints the message as one line and exits with code 2. Any
    other exception is a defect of ours and keeps its traceback.
    """


class RunStopped(Exception):
    """A run stopped before its end; the message says how to go on.

    Its last good checkpoint is kept. The command line prints the message as one
    line.

    Args:
        message: str.
        exit_code: int, that of the command line: 128 plus the number of a
            signal, or 1 where training has failed.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
