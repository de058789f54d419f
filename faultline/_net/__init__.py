"""What is particular to the operating system, to TLS and certificates, and to the bytes of HTTP and SOCKS."""
