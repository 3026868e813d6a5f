"""A run: its settings, its loop, its record, its checkpoints."""
