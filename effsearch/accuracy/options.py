"""`ScoreOptions`: what a score source takes beside its name, and the flags that say it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from searchspace.errors import UserError


@dataclass(frozen=True)
class Flag:
    """Makes a field of `ScoreOptions` a flag of the command line, named like the field.

    It stands in the field's annotation: `images: Annotated[int | None, Flag("How many.")] = None`.

    Attributes:
        help: of the flag; the command line says which source it is for.
        needs: what follows the flag in the message on a required one that is missing.
    """

    help: str
    needs: str = ""


def flag_name(field: str) -> str:
    """Return the flag of a field, `--like-this`."""
    return "--" + field.replace("_", "-")


class ScoreOptions(BaseModel):
    """Options of a score source; this very class, without any, is that of most.

    A subclass adds fields. Those with a `Flag` can be given on the command line. Validators may
    raise `ValueError` with what is wrong and what would be right; the flag is put before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def flags(cls) -> dict[str, Flag]:
        """Return the flags by field."""
        return {
            name: part
            for name, field in cls.model_fields.items()
            for part in field.metadata
            if isinstance(part, Flag)
        }

    @classmethod
    def of_flags(cls, source: str, given: Mapping[str, Any]) -> Self:
        """Return the options that flags say.

        Args:
            source: name of the score source, for messages.
            given: values by field; None for a flag that was not given.

        Raises:
            UserError: where a value is out of range, or one that is needed is missing; names its
                flag.
        """
        try:
            return cls.model_validate({k: v for k, v in given.items() if v is not None})
        except ValidationError as caught:
            error = caught.errors()[0]
        if not error["loc"]:
            raise UserError(f"--proxy {source}: {_complaint(error)}")
        field = str(error["loc"][0])
        flag = flag_name(field)
        if error["type"] == "missing":
            raise UserError(f"--proxy {source}: needs {flag} {cls.flags()[field].needs}".rstrip())
        raise UserError(f"{flag}: {_complaint(error)}")

    def check_same(
        self, given: Mapping[str, Any], folder: Path, shared: Collection[str] = ()
    ) -> None:
        """Check that flags say what a run was begun with, or nothing.

        Args:
            given: values by field; None for a flag that was not given.
            folder: the run folder, for messages.
            shared: fields whose flags may be there for something else than the score.

        Raises:
            UserError: names the flag that differs.
        """
        own = self.flags()
        for field, value in given.items():
            if value is None or (field in shared and field not in own):
                continue
            held = getattr(self, field) if field in own else None
            if (value.resolve() if isinstance(value, Path) else value) != held:
                raise UserError(
                    f"{flag_name(field)}: {value} differs from {held} of the run in {folder}; "
                    "leave it away, or start a new run"
                )

    def default_space(self) -> str | None:
        """Return the space of a run that names none; None for the usual one.

        Raises:
            UserError: where the run has to name one.
        """
        return None


def _complaint(error: Any) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{error['input']!r} is wrong: {error['msg'][:1].lower()}{error['msg'][1:]}"
