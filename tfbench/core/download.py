"""One file over HTTP: streamed, resumable, honest about what came.

What has arrived lies in `<target>.part`; `<target>.part.from` names the URL and the server's
validator (ETag or Last-Modified), so that a resumed download never joins two versions.
"""

from __future__ import annotations

import errno
import http
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tfbench import __version__
from tfbench.core.errors import AssetError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Progress",
    "StoppedError",
    "check_space",
    "discard",
    "download",
    "human_size",
    "origin_of",
    "part_of",
]

Progress = Callable[[int, int | None], None]
"""Is told the bytes that have arrived and the total, None where that is not known."""

CHUNK = 1 << 20
TIMEOUT_S = 30.0


class _Partial(NamedTuple):
    """What an earlier attempt left: bytes on disk, and the validator to resume with."""

    offset: int
    validator: str


def human_size(n_bytes: int | None) -> str:
    """Write a number of bytes for people, in decimal units: 54573114 -> "54.6 MB"."""
    if n_bytes is None:
        return "size not known"
    size = float(n_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{n_bytes:,} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def part_of(target: Path) -> Path:
    """Return where the bytes of an unfinished download of `target` lie."""
    return target.with_name(target.name + ".part")


def origin_of(target: Path) -> Path:
    """Return where the origin of an unfinished download of `target` is written down."""
    return target.with_name(target.name + ".part.from")


def discard(target: Path) -> None:
    """Delete what an unfinished download of `target` left."""
    part_of(target).unlink(missing_ok=True)
    origin_of(target).unlink(missing_ok=True)


def check_space(folder: Path, n_bytes: int) -> None:
    """Refuse to start what the disk cannot hold.

    Raises:
        AssetError: Fewer than `n_bytes` are free in the folder.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise AssetError(
            f"{folder} has {human_size(free)} free, {human_size(n_bytes)} are needed; free some "
            "space or set TFBENCH_HOME to a folder on another disk"
        )


class StoppedError(AssetError):
    """Ctrl-C was pressed during a download."""


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    checked: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Download to `<target>.part`, continuing what an earlier attempt left there.

    Args:
        url: http or https.
        target: Where the finished file will belong; its folder exists.
        size: Bytes that the file must have, None where that is not known.
        checked: Whether the caller knows the file's hash, so that what one URL began may be
            continued from another.
        progress: Called with the bytes that have arrived and the total, None if not known.

    Returns:
        The path of the complete `.part` file, not yet renamed.

    Raises:
        StoppedError: Ctrl-C was pressed; what has arrived stays.
        AssetError: The server cannot be reached, refuses, stalls for 30 s, breaks off or offers a
            file of another size; or the disk is full. What has arrived stays.
    """
    part = part_of(target)
    partial = _partial(url, target, size, checked)
    if size is not None and partial.offset == size:
        return part
    try:
        _transfer(url, target, partial, size, progress)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped; {_kept(part)}") from None
    except urllib.error.HTTPError as error:
        error.close()
        if partial.offset and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # What lies there is not the beginning of what the server has now.
            discard(target)
            return download(url, target, size=size, checked=checked, progress=progress)
        raise AssetError(f"{url}: the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise AssetError(f"{url} cannot be reached: {error.reason}; {_kept(part)}") from error
    except (OSError, http.client.HTTPException) as error:
        raise AssetError(_broken(error, url, part)) from error
    return part


def _broken(error: Exception, url: str, part: Path) -> str:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk of {part.parent} is full; {_kept(part)}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be written: {error.strerror}"
    return f"{url} broke off ({error}); {_kept(part)}"


def _partial(url: str, target: Path, size: int | None, checked: bool) -> _Partial:
    """Say how much of an earlier attempt can be used; discard it where none can."""
    part, origin = part_of(target), origin_of(target)
    if not part.is_file():
        return _Partial(0, "")
    offset = part.stat().st_size
    begun_at, _, validator = (
        origin.read_text("utf-8").partition("\n") if origin.is_file() else ("", "", "")
    )
    if begun_at != url:
        validator = ""
    if not (checked or validator) or (size is not None and offset > size):
        discard(target)
        return _Partial(0, "")
    return _Partial(offset, validator)


def _transfer(
    url: str, target: Path, partial: _Partial, size: int | None, progress: Progress | None
) -> None:
    headers = {"User-Agent": f"tfbench/{__version__}", "Accept-Encoding": "identity"}
    if partial.offset:
        headers["Range"] = f"bytes={partial.offset}-"
        if partial.validator:
            headers["If-Range"] = partial.validator
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the manifest admits http only
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - see above
        start = partial.offset if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        if size is not None and total is not None and total != size:
            raise AssetError(f"{url} offers {total:,} bytes where {size:,} were wanted")
        check_space(target.parent, (total or size or 0) - start)
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if validator.startswith("W/"):
            validator = ""  # HTTP forbids weak ETags in If-Range
        origin_of(target).write_text(f"{url}\n{validator}", "utf-8")
        done = start
        with part_of(target).open("ab" if start else "wb") as out:
            if progress is not None:
                progress(done, total or size)
            while chunk := response.read(CHUNK):
                out.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total or size)
    if total is not None and done < total:
        raise ConnectionError(f"after {done:,} of {total:,} bytes")


def _kept(part: Path) -> str:
    arrived = part.stat().st_size if part.is_file() else 0
    if not arrived:
        return "nothing has arrived yet"
    return f"{human_size(arrived)} are kept in {part}; the same command continues there"
