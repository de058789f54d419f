"""The values: faults, plans, steps and ledgers.

Rules: no module of this package opens a socket, runs an event loop or starts a thread.
"""
