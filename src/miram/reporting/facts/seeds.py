"""How metrics over several trainings or repeats are described: in the same words everywhere."""

from collections.abc import Mapping

from miram.reporting.facts.study import MethodResult
from miram.reporting.facts.tables import most_repeats, most_seeds


def over_seeds(methods: Mapping[str, MethodResult]) -> str:
    """What an estimate is where methods were judged several times; empty where once.

    Args:
        methods: Results by method.
    """
    seeds, repeats = most_seeds(methods), most_repeats(methods)
    alike = all(most_seeds({name: result}) == seeds for name, result in methods.items())
    told = [f"{'' if alike else 'up to '}{seeds} seeds"] if seeds > 1 else []
    told += [f"{repeats} repeats of the cross-validation"] if repeats > 1 else []
    return f"means over {' and '.join(told)}" if told else ""


def beside_intervals(methods: Mapping[str, MethodResult]) -> str:
    """What the intervals do not hold, in sentences.

    Args:
        methods: Results by method.
    """
    seeds, repeats = most_seeds(methods), most_repeats(methods)
    several = " and ".join(
        name for name, count in (("seeds", seeds), ("repeats", repeats)) if count > 1
    )
    told = []
    if several:
        told.append(
            f"Figures are {over_seeds(methods)}: how far {several} lie apart is not in the "
            f"intervals, but in the standard deviation over {several}."
        )
    if seeds == 1:
        told.append(
            "Every figure is of one training at most: chance in training is not in the intervals."
        )
    if repeats == 1 and any(result.metrics["strategy"] == "cv" for result in methods.values()):
        told.append(
            "Patients were dealt into folds once: what another deal would give is not in the "
            "intervals, and splits.repeats would tell."
        )
    return " ".join(told)
