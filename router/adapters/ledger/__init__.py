"""The ledger in the store: reserving, settling, reading and proving rows; budgets and the spend cube."""
