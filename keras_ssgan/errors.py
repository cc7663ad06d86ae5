"""The one exception type for mistakes that the user can mend."""


class InputError(ValueError):
    """Something the user gave is wrong; the message says how to mend it.

    The command line prints the message as one line and exits with code 2. Any
    other exception is a defect of ours and keeps its traceback.
    """
