"""HTTP/2 on one connection: its frames, its streams, and the breaks among them."""
