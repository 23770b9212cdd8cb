"""What is told of the run that trained weights: settings, machine, code and versions."""

from collections.abc import Mapping
from typing import Any

from miram.provenance import git_commit, versions
from miram.training.config import TrainingConfig
from miram.training.device import device_facts

OTHERWISE = "trained_otherwise"  # field of the header of several trainings, see `joined_facts`

Facts = dict[str, Any]


def facts_of(config: TrainingConfig) -> Facts:
    """What a checkpoint's header tells of a training in this process.

    Args:
        config: The budget, with what was settled for `auto`.

    Returns:
        `training`, `hardware`, `git_commit` and `versions`, of plain values.
    """
    return {
        "training": config.model_dump(mode="json"),
        "hardware": device_facts(config),
        "git_commit": git_commit(),
        "versions": versions(),
    }


def joined_facts(parts: Mapping[str, Facts]) -> Facts:
    """Facts of several trainings, such as those of the folds, for one header.

    A fold that was trained by an earlier run may have had another machine, or other portions.

    Args:
        parts: Facts by name, at least one.

    Returns:
        Those of the first; under `trained_otherwise` whatever differs in others, by name.
    """
    first, *_ = parts.values()
    others = {
        name: {field: value for field, value in facts.items() if value != first[field]}
        for name, facts in parts.items()
        if facts != first
    }
    return {**first, OTHERWISE: others} if others else first
