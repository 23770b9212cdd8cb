"""Seconds that other programs on a shared machine disturb least."""

import resource


def processor_seconds() -> float:
    """Used by this process and its threads since it began."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
