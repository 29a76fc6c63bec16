"""Outcomes that are neither success nor a mistake in the request, and how errors are told."""


class NoArchitectureFitsError(Exception):
    """No architecture meets the budget; the message says what the fastest takes and why.

    The command line prints it and exits with status 3.
    """


class WorkFailedError(Exception):
    """The request was right and the work failed; exit status 1."""


def first_line(error: BaseException, otherwise: str = "") -> str:
    """Returns the first line of an error's message.

    Args:
        error: The error.
        otherwise: What stands for an empty message; the error's type where this is empty too.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else otherwise or type(error).__name__
