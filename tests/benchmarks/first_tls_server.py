"""What the first TLS server of a process costs more than a plain one, beside trustme by hand. Run as a script.

Each value is taken inside a process of its own, in which ssl, trustme and cryptography have been imported before.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

BEFORE = (
    "import ssl, time, trustme, cryptography.x509, cryptography.x509.ocsp, faultline as f, faultline._servers.server; "
    "f.serve(f.ok()).close(); began = time.perf_counter(); "
)
AFTER = "; sys = __import__('sys'); sys.stdout.write(str((time.perf_counter() - began) * 1e3))"
PROGRAMS = {
    "a further plain server": "f.serve(f.ok()).close()",
    "the first TLS server": "f.serve(f.ok(), tls=True).close()",
    "trustme by hand, without a server": (
        "ca = trustme.CA(key_type=trustme.KeyType.ECDSA); context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); "
        "ca.issue_cert('localhost', key_type=trustme.KeyType.ECDSA).configure_cert(context)"
    ),
}
RUNS = 21


def milliseconds(program: str) -> float:
    """How long it takes, once, in a new process."""
    command = [sys.executable, "-c", BEFORE + program + AFTER]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    for name, program in PROGRAMS.items():
        found = sorted(milliseconds(program) for _ in range(RUNS))
        sys.stdout.write(f"{name}: {statistics.median(found):.1f} ms ({found[0]:.1f} to {found[-1]:.1f})\n")
