"""Files with keys and certificates, on systems without files in memory."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def temporary(name: str, content: bytes) -> Iterator[str]:
    """The path of a file with this content, for as long as the block runs; only this user can read it."""
    with tempfile.NamedTemporaryFile(prefix=f"faultline-{name}-") as file:
        file.write(content)
        file.flush()
        yield file.name


def file_with(folder: Path, name: str, content: bytes) -> Path:
    """Make a file that only this user can read (mode 0600), which the caller removes at exit.

    If a signal ends the process, the file stays until another process calls `forget_stale`.
    """
    path = folder / f"faultline-{name}-{secrets.token_hex(4)}.{os.getpid()}.pem"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


def forget_stale(path: Path) -> None:
    """Remove a file of `file_with` if its process has gone."""
    pid = path.suffixes[0][1:] if len(path.suffixes) > 1 else ""
    if not pid.isdigit():
        return
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        with contextlib.suppress(OSError):
            path.unlink()
    except OSError:  # the process is another user's
        pass
