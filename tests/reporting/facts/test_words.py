"""Numbers in prose."""

import pytest

from miram.reporting.facts.words import p_value


@pytest.mark.parametrize(
    ("value", "reported"),
    [
        (0.0, "< 0.001"),
        (0.00099, "< 0.001"),
        (0.001, "0.001"),
        (0.0494, "0.049"),
        (0.0498, "0.0498"),
        (0.04999, "0.0499"),
        (0.05, "0.050"),
        (0.25, "0.250"),
        (float("nan"), "not defined"),
    ],
)
def test_a_p_value_is_never_zero_and_on_its_side_of_the_level(value: float, reported: str) -> None:
    assert p_value(value) == reported
