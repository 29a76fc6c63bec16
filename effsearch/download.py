"""A file from the network: resumed where it was cut off, and checked by size and hash."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import IO

from effsearch.errors import WorkFailedError
from effsearch.files import file_sha256

_TIMEOUT_S = 30.0
_CHUNK = 1 << 20
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


class DownloadError(WorkFailedError):
    """The file is not here; the message says why."""


def download(
    url: str,
    partial: Path,
    report: Callable[[int, int | None], None],
    size_bytes: int | None = None,
    sha256: str | None = None,
) -> None:
    """Fetch a file, going on where an earlier call was cut off.

    Hugging Face names size and SHA-256 of a large file in `X-Linked-Size` and `X-Linked-ETag` of
    an answer on the way to it; they stand where the caller knows none.

    Args:
        url: what to fetch, by HTTP.
        partial: where it goes; it stays where the connection breaks, and goes where it is wrong.
        report: told the bytes that are here, and of how many; None where the server does not say.
        size_bytes: of the whole file; None for unknown.
        sha256: of the whole file, in hex; None for unknown.

    Raises:
        DownloadError: where the server cannot be reached or refuses, the connection breaks, or the
            file has another size or hash.
        OSError: where the file cannot be written.
    """
    linked = _Linked()
    here = partial.stat().st_size if partial.exists() else 0
    try:
        answer = _open(url, here, linked)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and here:
            partial.unlink()  # longer than the file that is there now
            return download(url, partial, report, size_bytes, sha256)
        raise DownloadError(f"{url} answers {error.code} ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"{url} cannot be reached ({reason})") from None
    with answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            here = 0
        length = answer.headers.get("Content-Length")
        announced = here + int(length) if length else None
        size_bytes, sha256 = size_bytes or linked.size_bytes, sha256 or linked.sha256
        total = size_bytes or announced
        with partial.open("ab" if here else "wb") as file:
            for chunk in _chunks(answer, url):
                file.write(chunk)
                here += len(chunk)
                report(here, total)
    if announced is not None and here < announced:
        raise DownloadError(
            f"{url} was cut off after {here} of {announced} bytes; the same command goes on there"
        )
    wrong = _wrong(partial, size_bytes, sha256)
    if wrong:
        partial.unlink()
        raise DownloadError(f"{url} gives a file of {wrong}; it was deleted")


class _Linked(urllib.request.HTTPRedirectHandler):
    """Follows redirections, and keeps what they say of the file."""

    size_bytes: int | None = None
    sha256: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        size, tag = headers.get("X-Linked-Size", ""), headers.get("X-Linked-ETag", "")
        if size.isdigit():
            self.size_bytes = int(size)
        match = _SHA256.fullmatch(tag)
        if match:
            self.sha256 = match[1]
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _open(url: str, here: int, linked: _Linked) -> http.client.HTTPResponse:
    headers = {"User-Agent": "effsearch", "Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
    opener = urllib.request.build_opener(linked)
    request = urllib.request.Request(url, headers=headers)
    answer: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT_S)
    return answer


def _chunks(answer: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = answer.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"{url} broke off ({error}); the same command goes on") from None
        if not chunk:
            return
        yield chunk


def _wrong(path: Path, size_bytes: int | None, sha256: str | None) -> str:
    """Return what is wrong with a file; empty where nothing is."""
    size = path.stat().st_size
    if size_bytes is not None and size != size_bytes:
        return f"{size} bytes, not {size_bytes}"
    if sha256 is not None:
        found = file_sha256(path)
        if found != sha256:
            return f"SHA-256 {found}, not {sha256}"
    return ""
