"""What a run takes of a GPU's memory, known before anything is loaded: from a model's config.json alone."""
