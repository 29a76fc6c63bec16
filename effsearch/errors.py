"""Outcomes that are neither success nor a mistake in the request, and how errors are told."""

import errno

# What the machine refuses, however right the request; other refusals are of the place asked for.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENOMEM)


class NoArchitectureFitsError(Exception):
    """No architecture meets the budget; the message says what the fastest takes and why.

    The command line prints it and exits with status 3.
    """


class WorkFailedError(Exception):
    """The request was right and the work failed; exit status 1."""
