"""What people read: the page of a run, the model card, numbers."""
