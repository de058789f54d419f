"""The control API: servers that a program in any language makes and changes over HTTP, as toxiproxy's clients do."""
