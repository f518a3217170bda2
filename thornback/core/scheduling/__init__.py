"""Where things run: placement policies as pure functions of demand, cluster view and a random stream."""
