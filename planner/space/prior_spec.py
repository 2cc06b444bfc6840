"""One entry of `prior:` in a study file: an old study, or a table, and how it is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from planner.space.address import ADDRESS, shown
from planner.space.axis_spec import ANY_VALUE, plain
from planner.space.types import StudyError
from planner.space.validation import StrictModel

__all__ = ["PriorSpec", "as_list", "prior_of_file"]

_Given = Annotated[bool | int | float | str, BeforeValidator(plain), WithJsonSchema(ANY_VALUE)]


class PriorSpec(StrictModel):
    """What is known from elsewhere: `study`, `table` or `studies`, never counted as measured."""

    study: str | None = None
    """A study file whose record is used, relative to this one."""
    storage: str | None = Field(default=None, repr=False, json_schema_extra={"pattern": ADDRESS})
    """Of `study`: the address of its record, in place of the one in its file."""
    name: str | None = None
    """Of `study`: the name of its record, in place of the one in its file."""
    table: str | None = None
    """A result file of any format that `sweepwise import` reads, relative to this study file."""
    studies: str | None = None
    """Databases whose studies are all used, such as '*.db', relative to this study file; what does not fit is left
    out."""
    format: str = "auto"
    """Of `table`: its format, as `import --format` takes it."""
    set: dict[str, _Given] = Field(default_factory=dict)
    """Axis → the value at which it was measured, where it did not vary: {gpu: A100}."""
    where: str | None = None
    """A condition over its axes or columns: only what meets it is used."""
    map: dict[str, str] = Field(default_factory=dict)
    """Axis or target of this study → its name there; of a table also an expression over columns."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.study, self.table, self.studies)) != 1:
            raise ValueError("name one source: `study: old.yaml`, `table: old.csv` or `studies: '*.db'`")
        if self.study is None and (self.storage is not None or self.name is not None):
            raise ValueError("`storage` and `name` belong to `study`; delete them")
        if self.storage is not None and shown(self.storage) != self.storage:
            raise ValueError("`storage` has a password, which a study file must not hold; use PGPASSWORD or a password "
                             "file")
        if self.table is None and self.format != "auto":
            raise ValueError("`format` belongs to `table`; delete it")
        return self

    @property
    def label(self) -> str:
        """What messages and reports call it."""
        said = [f"{axis}={value}" for axis, value in self.set.items()] + ([self.where] if self.where else [])
        source = self.study or self.table or self.studies or ""
        return f"{source} ({', '.join(said)})" if said else source


def as_list(entries: Any) -> Any:
    """The entries of `prior:`; one entry needs no list."""
    return [entries] if isinstance(entries, dict) else entries


def prior_of_file(path: str, directory: Path) -> PriorSpec:
    """The entry for a file named on the command line, relative to `directory`, that of the study file. A YAML file is
    an old study, anything else a table. Raises StudyError if there is no such file."""
    if not Path(path).exists():
        raise StudyError(f"--prior: there is no {path}; name an old study file or a result table")
    relative = os.path.relpath(path, directory)
    return PriorSpec(study=relative) if Path(path).suffix in {".yaml", ".yml"} else PriorSpec(table=relative)
