"""Faults as data: plans, where they come from, and what injects them."""
