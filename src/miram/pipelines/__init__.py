"""Wiring: one package per pipeline, named as the command runs it, with thin nodes."""
