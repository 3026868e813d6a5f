"""Rows of any file or data set, and what a run has left, as Python objects. Imports nothing above it but errors."""
