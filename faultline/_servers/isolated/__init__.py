"""Servers in a child process."""
