"""Metrics, intervals and paired tests on plain arrays; it needs nothing of the rest of miram."""


class StatisticsError(ValueError):
    """Labels, scores or settings that no statistic can be computed from, in one readable line."""
