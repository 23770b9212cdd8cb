"""Encoders in the formats of other programs."""
