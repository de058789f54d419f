"""The endpoints that users start: servers, relays, proxies and resolvers, each with a plan and a ledger."""
