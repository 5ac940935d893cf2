"""Parquet, for programs that read tables by columns: the rows of the CSV. Needs pyarrow, the extra `parquet`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from workers.results.formats.csv_table import COLUMNS, detection_rows
from workers.results.formats.source import ResultSource

_ROWS = 10_000  # per row group, which is held in memory as a whole
_INTEGERS = {"index", "width", "height", "model_version"}
_FLOATS = {"score", "xmin", "ymin", "xmax", "ymax"}


def write_parquet(source: ResultSource, out: BinaryIO) -> None:
    """Write a row for each detection, at least one for each image; missing values are null. Boxes are in pixels."""
    import pyarrow as pa  # noqa: PLC0415  an optional package
    from pyarrow import parquet  # noqa: PLC0415  an optional package

    types = {**dict.fromkeys(_INTEGERS, pa.int64()), **dict.fromkeys(_FLOATS, pa.float64())}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])
    rows = _rows(source)
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        while group := list(itertools.islice(rows, _ROWS)):
            columns = [
                pa.array(values, field.type) for values, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _rows(source: ResultSource) -> Iterator[tuple[Any, ...]]:
    for line in source.lines():
        yield from detection_rows(json.loads(line))
