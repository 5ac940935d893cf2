"""Read a multipart upload as the files and option fields of a job."""

from __future__ import annotations

from typing import BinaryIO, cast

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from api.http.errors import InvalidRequestError, RequestTooLargeError, UnknownFieldError
from api.requests.multipart import IMAGE_FIELDS
from workers.errors import NoImagesError, TooManyImagesError
from workers.io.names import control_in
from workers.settings import Settings
from workers.sources.origins.origin import MAX_NAME_CHARS

LIST_FIELDS = ("output_formats",)  # may be sent as one part with commas, or as several parts
OTHER_PARTS = 64  # form fields beside the images

Upload = tuple[str, BinaryIO]


def read_upload(
    request: Request, settings: Settings, single: frozenset[str] = frozenset()
) -> tuple[dict[str, list[Upload]], dict[str, str]]:
    """Return the files of a multipart request by field, and its other fields.

    Each file is (name, content), in the order of the request. Files are accepted in the field `images`, also under
    its other names (`IMAGE_FIELDS`), and in the fields `single`.

    Raises InvalidRequestError, UnknownFieldError, NoImagesError, RequestTooLargeError, TooManyImagesError,
    SpoolFullError.
    """
    max_files = settings.max_job_images
    request.max_content_length = settings.max_upload_bytes
    try:
        form, files = request.form, request.files
    except RequestEntityTooLarge as error:
        raise RequestTooLargeError(
            f"An upload may have at most {settings.max_upload_bytes} bytes. Send several jobs."
        ) from error
    except ValueError as error:
        raise InvalidRequestError(f"The multipart body is broken: {error}.") from error
    return _files(files, single, max_files), _fields(form)


def _files(files: MultiDict[str, FileStorage], single: frozenset[str], max_files: int) -> dict[str, list[Upload]]:
    for name in files:
        if name not in IMAGE_FIELDS and name not in single:
            others = "".join(f", or in `{field}`" for field in sorted(single))
            raise UnknownFieldError(f"Unknown file field {name!r}. Send the files in the field `images`{others}.")
    # If no file was chosen, a browser sends one empty part without a name.
    uploaded = [(name, part) for name, part in files.items(multi=True) if part.filename or part.stream.read(1)]
    if not uploaded:
        raise NoImagesError("The request has no image. Send at least one, in the field `images`.")
    if len(uploaded) > max_files:
        raise TooManyImagesError(
            f"The request has {len(uploaded)} files, and a job takes {max_files}. Send several jobs."
        )
    uploads: dict[str, list[Upload]] = {}
    for number, (name, part) in enumerate(uploaded, 1):
        upload = (_checked_name(part.filename or "", number), cast("BinaryIO", part.stream))
        uploads.setdefault("images" if name in IMAGE_FIELDS else name, []).append(upload)
    return uploads


def _fields(form: MultiDict[str, str]) -> dict[str, str]:
    for name, values in form.lists():
        if len(values) > 1 and name not in LIST_FIELDS:
            raise InvalidRequestError(f"The field {name!r} occurs more than once. Send it once.")
    return {name: ",".join(values) for name, values in form.lists()}


def _checked_name(name: str, number: int) -> str:
    if not name:
        raise InvalidRequestError(f"File {number} has no file name. Give every file one.")
    if len(name) > MAX_NAME_CHARS:
        raise InvalidRequestError(f"The name of file {number} is too long: it may have {MAX_NAME_CHARS} characters.")
    if control := control_in(name):
        raise InvalidRequestError(f"The name of file {number} has the control character {control}: rename it.")
    return name
