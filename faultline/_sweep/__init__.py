"""The search for the break that a client does not survive: every break of a scenario, one run after the other."""
