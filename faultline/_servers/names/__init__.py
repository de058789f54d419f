"""Names: what this process looks up and connects to, changed for a while and always put back."""
