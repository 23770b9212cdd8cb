"""Which classifiers read the frozen features: the protocols of the literature side by side.

`linear` is the main one: the leaderboard, the comparisons and the subgroups are its. The others
are beside it in `metrics.json`, for comparison with what others publish. A protocol is a file with
a `Config` that has `scores`, a name in `PROTOCOLS`, and a field of `ProtocolConfig` of that name.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from miram.configuration import Config, listed
from miram.evaluation.probes.knn import KnnConfig
from miram.evaluation.probes.linear import LinearProbeConfig
from miram.evaluation.probes.mae import MaeProbeConfig

Protocol = Literal["linear", "mae_probe", "knn"]
PROTOCOLS: tuple[Protocol, ...] = ("linear", "mae_probe", "knn")
MAIN: Protocol = "linear"


class ProtocolConfig(Config):
    """Which protocols read the features, and how."""

    protocols: tuple[Protocol, ...] = Field(
        (MAIN,), description="linear, mae_probe, knn, joined by + in one text; or all"
    )
    linear_probe: LinearProbeConfig = LinearProbeConfig()
    mae_probe: MaeProbeConfig = MaeProbeConfig()
    knn: KnnConfig = KnnConfig()

    @field_validator("protocols", mode="before")
    @classmethod
    def _protocol_names(cls, given: Any) -> Any:
        return split_names(given, PROTOCOLS)

    @field_validator("protocols")
    @classmethod
    def _main_first(cls, names: tuple[Protocol, ...]) -> tuple[Protocol, ...]:
        if MAIN not in names:
            raise ValueError(f"{MAIN} has to be among them: methods are compared by it")
        return tuple(name for name in PROTOCOLS if name in names)


def split_names(given: Any, known: Iterable[str]) -> Any:
    """Names as a list, from a text such as `pathology+density` or `all`; else as they are."""
    return tuple(known) if given == "all" else listed(given)


def protocol_scores(
    protocol: Protocol,
    train: tuple[npt.NDArray, npt.NDArray[np.int64]],
    features: npt.NDArray,
    *,
    classes: int,
    config: ProtocolConfig,
) -> npt.NDArray[np.float64]:
    """Score lesions by a protocol other than the linear probe.

    Args:
        protocol: `mae_probe` or `knn`.
        train: Features (n, d) and labels of the training lesions: (n,) classes from 0, or (n, K)
            of 0 and 1.
        features: (m, d) of the lesions to be scored.
        classes: Number of classes.
        config: How.

    Returns:
        (m,) probabilities of class 1 for two classes in (n,) labels, otherwise (m, K).
    """
    settings: KnnConfig | MaeProbeConfig = getattr(config, protocol)
    return settings.scores(*train, features, classes=classes)
