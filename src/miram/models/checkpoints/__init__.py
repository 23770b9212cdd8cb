"""Weights on disk, with a header that says what they came from."""
