"""The base of every record that crosses a boundary."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An immutable record: unknown fields and wrong types are errors, never dropped in silence."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, ser_json_timedelta="float", defer_build=True
    )
