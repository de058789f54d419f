"""The operating system: one interface, and the implementation for the system that this process runs on.

Rules: what differs between systems is in this folder, and nowhere else. The implementation is chosen when this module
is imported: Linux's own, or the portable one, which `FAULTLINE_PLATFORM=portable` chooses on Linux too.
"""

from __future__ import annotations

from faultline._core.errors import UnsupportedError
from faultline._net.system.interface import BACKLOG as BACKLOG
from faultline._net.system.interface import Arrivals as Arrivals
from faultline._net.system.interface import Left as Left
from faultline._net.system.interface import check_system
from faultline._net.system.interface import is_linux as is_linux
from faultline._net.system.interface import reachable as reachable

if is_linux():
    from faultline._net.system.linux import *  # noqa: F403 - its `__all__` is the interface
    from faultline._net.system.linux import LACKS, has_real_select
else:
    from faultline._net.system.portable import *  # noqa: F403 - as above
    from faultline._net.system.portable import LACKS, has_real_select


def check() -> None:
    """Refuse to run on a system without an implementation, and without real threads.

    Raises:
        UnsupportedError: this is Windows, or a library has replaced Python's threads or select.
        ParameterError: FAULTLINE_PLATFORM has an unknown value.
    """
    check_system(has_real_select=has_real_select())


def need(what: str) -> None:
    """Check that this system has what a fault needs.

    Raises:
        UnsupportedError: it has not, with the reason.
    """
    if what in LACKS:
        raise UnsupportedError(f"{LACKS[what]}.")
