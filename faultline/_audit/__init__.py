"""The audit: what a client does in every case of the catalogue, each in a process of its own, with a verdict."""
