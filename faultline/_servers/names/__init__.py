"""Changes which addresses this process finds and connects to, for a time; afterwards everything is restored."""
