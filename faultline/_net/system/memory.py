"""Files in memory, with keys and certificates; Linux alone has them (memfd_create(2)), and links to them in /proc."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary(name: str, content: bytes) -> Iterator[str]:
    """The path of a file with this content, for as long as the block runs; the file is in memory."""
    number = in_memory(name, content)
    try:
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


def file_with(folder: Path, name: str, content: bytes) -> Path:
    """Make a file that only this user can read (mode 0600), and that is gone when the process is.

    The file is in memory, so that no signal can leave a key on the disk; the path is a symbolic link to it, which the
    caller removes at exit.
    """
    number = in_memory(name, content)
    path = folder / f"faultline-{name}-{secrets.token_hex(4)}.pem"
    path.symlink_to(f"/proc/{os.getpid()}/fd/{number}")
    return path


def in_memory(name: str, content: bytes) -> int:
    """The descriptor of a file in memory with this content, which only this user can open (memfd_create(2))."""
    number = os.memfd_create(f"faultline-{name}")
    os.fchmod(number, 0o600)
    with os.fdopen(number, "wb", closefd=False) as file:
        file.write(content)
    return number


def forget_stale(path: Path) -> None:
    """Remove a file of `file_with` if a signal has ended its process, so that the link leads nowhere."""
    if path.is_symlink() and is_gone(path):
        with contextlib.suppress(OSError):
            path.unlink()


def is_gone(path: Path) -> bool:
    """Whether there is no file at a path; a file that this process may not look at is there."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False
