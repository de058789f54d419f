"""Walks the points of a conversation with a server, and says at which point it fails and why: `faultline probe`."""
