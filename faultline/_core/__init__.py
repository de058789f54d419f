"""Values: what a fault, a plan and a ledger are. No socket, no event loop, and no thread is started here."""
