"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tfbench.core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["storage_errors", "temporary", "write_atomically"]

FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {
    errno.EACCES,
    errno.EEXIST,
    errno.EROFS,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
}


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a `StorageError`.

    Args:
        folder: Where the block writes to.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageError(
                f"no space left for writing to {folder}; free some and run the same command again"
            ) from error
        if error.errno in CLOSED:
            raise StorageError(f"cannot write to {folder}: {error.strerror}") from error
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, wait until it is on disk, and rename it.

    Args:
        path: Where to; its folder is made.
        data: The bytes.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = temporary(path)
        try:
            with part.open("xb") as sink:
                sink.write(data)
                sink.flush()
                os.fsync(sink.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def temporary(path: Path) -> Path:
    """Return a hidden name beside a path that nothing has; its ending is kept.

    Unlike a file of `tempfile`, one that is opened there gets the rights that the user's umask
    gives.
    """
    return path.with_name(f".{path.stem}.{secrets.token_hex(6)}{path.suffix}")
