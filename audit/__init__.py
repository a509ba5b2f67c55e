"""Measure whom the model treats worse, and how toxic it gets."""
