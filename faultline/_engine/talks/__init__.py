"""Talks: the protocols that servers speak on a connection, one module each."""
