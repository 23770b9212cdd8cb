"""Attentions that are exact within windows of the grid, near or spread over the image."""
