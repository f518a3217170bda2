"""Distributed Python: tasks, actors and shared objects."""
