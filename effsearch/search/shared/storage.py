"""`open_storage`: an Optuna storage in a database, which answers."""

from __future__ import annotations

import time

from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from searchspace.errors import UserError, first_line

_ANSWER_S = 5
_LOCKED_S = 30  # that a driver waits for another to let go of an SQLite file
_TRIES = 5
# What drivers that begin at once tell each other of the tables that they make.
_AT_ONCE = ("already exists", "duplicate key", "UNIQUE constraint")


def open_storage(text: str) -> RDBStorage:
    """Return the storage at a URL; its tables are made where they lack.

    Args:
        text: `postgresql://USER@HOST/DATABASE`, or `sqlite:///FILE`.

    Raises:
        UserError: where it is no such URL, no database answers within seconds, or its driver is not
            installed.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise UserError(f"--storage: not a database's URL; {_RIGHT}") from None
    shown, kind = url.render_as_string(hide_password=True), url.get_backend_name()
    if kind == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        options = {"connect_timeout": _ANSWER_S}
    elif kind == "sqlite" and url.database not in (None, "", ":memory:"):
        options = {"timeout": _LOCKED_S}
    else:
        raise UserError(f"--storage: {shown} is no database that drivers can share; {_RIGHT}")
    address = url.render_as_string(hide_password=False)
    for left in reversed(range(_TRIES)):
        try:
            return RDBStorage(address, {"connect_args": options, "pool_pre_ping": True})
        except ImportError:
            raise UserError(
                "--storage: PostgreSQL's driver is not installed; "
                "pip install 'effsearch[postgresql]'"
            ) from None
        except (SQLAlchemyError, OptunaError, RuntimeError) as error:
            if left and any(words in str(error) for words in _AT_ONCE):
                time.sleep(0.3)
                continue
            reason = first_line(getattr(error, "orig", None) or error)
            raise UserError(f"--storage: {shown} does not answer ({reason})") from None
    raise AssertionError


_RIGHT = "give postgresql://USER@HOST/DATABASE, or sqlite:///FILE on one machine"
