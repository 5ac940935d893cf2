"""Compare TensorFlow Serving's batching file with the calls that a worker makes of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from google.protobuf import text_format

from serving.client import ServedModel
from serving.contract import warmup_rows
from serving.errors import ContractError
from serving.utf8_files import read_utf8
from serving.wire.protos import BatchingParameters

_DEFAULT_ROWS: Final = 1000  # TF Serving's, where the file does not set max_batch_size


def most_rows(path: Path) -> int:
    """Return the most rows of a call that a server with this batching file takes.

    Raises ContractError if the file cannot be read or is not a BatchingParameters in text format.
    """
    try:
        parameters = text_format.Parse(read_utf8(path), BatchingParameters())
    except text_format.ParseError as error:
        raise ContractError(f"{path} is not a batching file (BatchingParameters in text format): {error}") from error
    return int(parameters.max_batch_size.value) if parameters.HasField("max_batch_size") else _DEFAULT_ROWS


def batching_problem(most: int, served: ServedModel, batch_rows: int) -> str | None:
    """Return why a server whose calls have at most `most` rows does not suit a model, or None if it does.

    `batch_rows` is the most rows that a worker sends in a call.
    """
    contract = served.contract
    if served.fixed_rows not in {None, most}:  # with as many, no two calls are merged
        return (
            f"it takes {served.fixed_rows} rows a call and no other number: serve it without --enable_batching, "
            f"or with max_batch_size {served.fixed_rows}"
        )
    sent, recorded = min(batch_rows, contract.max_batch_rows), max(warmup_rows(contract))
    if served.description is None and recorded > most:
        return (
            f"its warm-up records have up to {recorded} rows, so TensorFlow Serving does not start with max_batch_size "
            f"{most}: set max_batch_size to {max(sent, recorded)} or more, or --enable_model_warmup=false"
        )
    if sent > most:
        return (
            f"a worker sends it {sent} rows a call, and max_batch_size {most} refuses them: "
            f"set max_batch_size to {sent} or more, or SHELFLINE_BATCH_ROWS to {most} or less"
        )
    return None
