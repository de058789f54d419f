"""Facts of the operating system, TLS, certificates, and the bytes of HTTP and SOCKS."""
