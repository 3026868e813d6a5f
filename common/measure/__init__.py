"""Scores, losses and their intervals."""
