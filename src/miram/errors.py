"""Errors that a user can mend: each says what is wrong, where, and what to do."""


class MiramError(Exception):
    """A problem of input, configuration or environment, stated in one readable message."""
