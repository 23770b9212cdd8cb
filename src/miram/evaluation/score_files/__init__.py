"""Metrics for scores that any other program wrote."""
