"""Programs that check themselves, for mutants of parts that no workload uses."""
