"""Plays the conversation of one connection, and breaks it at the point that its fault names."""
