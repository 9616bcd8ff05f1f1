"""Where money is remembered: two ports, and an adapter for each kind of store."""
