"""Completions of a model, for evaluations and for chats."""
