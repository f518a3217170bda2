"""The object manager of a node: who holds which bytes of shared memory, and fetching copies from other nodes."""
