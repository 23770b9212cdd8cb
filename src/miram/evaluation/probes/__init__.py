"""Classifiers that read frozen features."""
