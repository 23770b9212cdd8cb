"""How figures over several trainings of a method are told: in the same words everywhere."""

from collections.abc import Mapping

from miram.reporting.study import MethodResult
from miram.reporting.tables import most_seeds


def over_seeds(methods: Mapping[str, MethodResult]) -> str:
    """What an estimate is where methods were judged with several seeds; empty for one seed.

    Args:
        methods: Results by method.
    """
    most = most_seeds(methods)
    if most == 1:
        return ""
    alike = all(most_seeds({name: result}) == most for name, result in methods.items())
    return f"means over {'' if alike else 'up to '}{most} seeds"


def chance_in_training(methods: Mapping[str, MethodResult]) -> str:
    """A sentence about what the intervals do not hold.

    Args:
        methods: Results by method.
    """
    means = over_seeds(methods)
    if not means:
        return (
            "Every figure is of one training at most: chance in training is not in the intervals."
        )
    return (
        f"Figures are {means}: how far seeds lie apart is not in the intervals, but in the "
        "standard deviation over seeds."
    )
