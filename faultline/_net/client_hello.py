"""Parses a ClientHello, the first message of TLS: the server name and the protocols that a client asks for.

OpenSSL shows a server only the name, and shows nothing to a relay that passes the bytes on. The format is RFC 8446,
4.1.2, in records of RFC 8446, 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

RECORD_HEAD, CLIENT_HELLO = b"\x16\x03", 1  # a handshake record, and the message type
LIMIT_BYTES = 131_396  # OpenSSL's CLIENT_HELLO_MAX_LENGTH
SERVER_NAME, PROTOCOLS = 0, 16  # extensions: RFC 6066, 3 and RFC 7301, 3.1
RECORD_HEAD_BYTES, MESSAGE_HEAD_BYTES, VERSION_AND_RANDOM_BYTES = 5, 4, 34


@dataclass(frozen=True)
class Hello:
    """The content of a ClientHello; without content if the bytes are no ClientHello."""

    sni: str = ""
    protocols: tuple[str, ...] = ()
    is_tls: bool = False


def hello_of(data: bytes) -> Hello | None:
    """The ClientHello in the first bytes of a client; `None` while it is incomplete."""
    message, at = bytearray(), 0
    while len(data) <= LIMIT_BYTES:
        head = data[at : at + RECORD_HEAD_BYTES]
        if not RECORD_HEAD.startswith(head[: len(RECORD_HEAD)]):
            return Hello()
        end = at + RECORD_HEAD_BYTES + int.from_bytes(head[3:], "big")
        if len(head) < RECORD_HEAD_BYTES or len(data) < end:
            return None
        message += data[at + RECORD_HEAD_BYTES : end]
        at = end
        if message[:1] != bytes([CLIENT_HELLO]):
            return Hello()
        if len(message) >= MESSAGE_HEAD_BYTES + int.from_bytes(message[1:MESSAGE_HEAD_BYTES], "big"):
            return read(bytes(message[MESSAGE_HEAD_BYTES:]))
    return Hello()


def read(body: bytes) -> Hello:
    """The server name and the protocols in the body of a ClientHello."""
    rest = body[VERSION_AND_RANDOM_BYTES:]
    for length_bytes in (1, 2, 1):  # session, cipher suites, compression methods
        _, rest = vector(rest, length_bytes)
    extensions, _ = vector(rest, 2)
    sni, protocols = "", []
    while extensions:
        kind, (content, extensions) = int.from_bytes(extensions[:2], "big"), vector(extensions[2:], 2)
        items, _ = vector(content, 2)
        if kind == SERVER_NAME:
            sni = vector(items[1:], 2)[0].decode("ascii", "replace")
        while kind == PROTOCOLS and items:
            name, items = vector(items, 1)
            protocols.append(name.decode("ascii", "replace"))
    return Hello(sni, tuple(protocols), is_tls=True)


VERSIONS = {0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
SUPPORTED_VERSIONS = 43  # an extension: RFC 8446, 4.2.1


def version_of(server_hello: bytes) -> str:
    """The version of TLS that a ServerHello chooses (RFC 8446, 4.1.3); empty if it is unknown."""
    body = server_hello[MESSAGE_HEAD_BYTES:]
    version, (_, rest) = body[:2], vector(body[VERSION_AND_RANDOM_BYTES:], 1)  # after the session
    extensions, _ = vector(rest[3:], 2)  # after the cipher suite and the compression method
    while extensions:
        kind, (content, extensions) = int.from_bytes(extensions[:2], "big"), vector(extensions[2:], 2)
        version = content if kind == SUPPORTED_VERSIONS else version
    return VERSIONS.get(int.from_bytes(version, "big"), "")


def first_certificate(message: bytes, version: str) -> bytes:
    """The first certificate in a message `Certificate` (RFC 8446, 4.4.2, and RFC 5246, 7.4.2) as DER; may be empty."""
    body = message[MESSAGE_HEAD_BYTES:]
    if version == VERSIONS[0x0304]:
        _, body = vector(body, 1)  # the context of the request
    certificates, _ = vector(body, 3)
    return vector(certificates, 3)[0]


def vector(data: bytes, length_bytes: int) -> tuple[bytes, bytes]:
    """Split a length-prefixed vector (RFC 8446, 3.4) from the bytes after it."""
    begin = length_bytes
    end = begin + int.from_bytes(data[:begin], "big")
    return data[begin:end], data[end:]
