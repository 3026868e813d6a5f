"""Models and tokenizers: found, built, loaded, put on their devices."""
