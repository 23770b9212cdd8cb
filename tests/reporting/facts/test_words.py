"""Figures in prose."""

import pytest

from miram.reporting.facts.words import p_value


@pytest.mark.parametrize(
    ("value", "reported"),
    [
        (0.0, "< 0.001"),
        (0.00099, "< 0.001"),
        (0.001, "0.001"),
        (0.25, "0.250"),
        (float("nan"), "not defined"),
    ],
)
def test_a_p_value_is_never_zero(value: float, reported: str) -> None:
    assert p_value(value) == reported
