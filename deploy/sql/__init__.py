"""Numbered SQL migrations of the store, applied in order by sinks/migrations.py."""
