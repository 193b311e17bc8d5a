"""The bytes of a photo in a request, which stay in memory and are bounded."""

from collections.abc import AsyncIterator

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

_MOST_FIELDS = 8
"""Of a form, besides the photo."""
_FORM_BYTES = 100_000
"""Room for what a form has besides the photo."""


async def uploaded_photo(request: Request, max_upload: int) -> bytes:
    """The photo that is the body of a request, or the only file in the form that is its body.

    Args:
        request: the request.
        max_upload: most bytes of the photo.

    Raises:
        HTTPException: 400: the request has no photo; 413: the photo is too large.
    """
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    body = await _bounded_body(request, max_upload + _FORM_BYTES if is_form else max_upload, max_upload)
    photo = await _file_of_form(request, body) if is_form else body
    if len(photo) > max_upload:
        raise _too_large(max_upload)
    if not photo:
        raise HTTPException(400, "there is no photo: expected its bytes as the body, or a form with one file")
    return photo


async def _bounded_body(request: Request, most: int, max_upload: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(max_upload)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_large(max_upload)
    return bytes(body)


async def _file_of_form(request: Request, body: bytes) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, chunks(), max_files=1, max_fields=_MOST_FIELDS)
    parser.spool_max_size = len(body) + 1  # or it would write the file to the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from None
    uploaded = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    return await uploaded[0].read() if uploaded else b""


def _too_large(max_upload: int) -> HTTPException:
    return HTTPException(413, f"the photo is too large: expected at most {max_upload:,} bytes (max_upload)")
