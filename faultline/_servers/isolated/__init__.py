"""Runs servers in a child process, which a busy main thread can't delay."""
