"""Facts of the operating system, TLS and certificates, and the formats of HTTP, SOCKS and DNS."""
