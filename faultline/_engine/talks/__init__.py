"""Talks: the protocols that a server speaks on a connection, one file each."""
