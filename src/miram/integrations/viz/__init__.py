"""Kedro-Viz of this project."""
