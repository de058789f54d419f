"""Front doors: the pytest fixture's starters and the command line."""
