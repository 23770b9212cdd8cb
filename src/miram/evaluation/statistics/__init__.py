"""Metrics, intervals and paired tests on plain arrays."""
