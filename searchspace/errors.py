"""The one exception that stands for a request that cannot be met as written."""


class UserError(ValueError):
    """A mistake in the request, said in one line: what is wrong and what would be right.

    The command line prints the message and exits with status 2.
    """
