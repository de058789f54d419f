"""What the user holds: servers, relays, proxies, resolvers, each with a plan, a ledger and an end."""
