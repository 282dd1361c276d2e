"""ArrowTable: what a table of layers may be, of whichever library."""

from __future__ import annotations

from typing import Protocol


class ArrowStream(Protocol):
    """A table of any library: pyarrow, polars, DuckDB, nanoarrow and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class ArrowArray(Protocol):
    """A record batch of any library."""

    def __arrow_c_array__(
        self, requested_schema: object | None = None
    ) -> tuple[object, object]: ...


ArrowTable = ArrowStream | ArrowArray
