"""Plays the conversation of one connection, and breaks it where its fault says."""
