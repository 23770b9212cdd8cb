"""What is asked of a method's features: tasks, protocols, subgroups, comparisons."""

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from miram.configuration import Config, Seeds, listed
from miram.errors import MiramError
from miram.evaluation.probes.knn import KnnConfig
from miram.evaluation.probes.linear import LinearProbeConfig
from miram.evaluation.probes.mae import MaeProbeConfig
from miram.evaluation.probes.protocols import MAIN, Probe
from miram.evaluation.statistics.bootstrap import DRAWS
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.statistics.metrics import METRICS, main_metric, metrics_of
from miram.evaluation.statistics.subgroups import VARIABLES
from miram.evaluation.tasks.definitions import TASKS, TaskConfig
from miram.evaluation.tasks.targets import WithoutCallback


class ComparisonConfig(Config):
    """Which methods are compared with which, on what."""

    renamed: ClassVar[dict[str, str]] = {"figure": "metric"}

    reference: str = Field("random", min_length=1, description="the method compared with")
    methods: tuple[str, ...] = Field((), description="methods compared; all others if empty")
    tasks: tuple[str, ...] = Field((), description="tasks of the comparison; all if empty")
    metric: str | None = Field(
        None, description="metric compared; the area under the ROC curve where a task lacks it"
    )

    @field_validator("metric")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        known = sorted(metric for metric, one in METRICS.items() if one.kinds)
        if name is not None and name not in known:
            raise ValueError(f"no metric {name!r}: choose among {', '.join(known)}")
        return name

    def metric_for(self, kind: Kind) -> str:
        """The metric compared on tasks of a kind."""
        return self.metric if self.metric in metrics_of(kind) else main_metric(kind)


class LabelEfficiencyConfig(Config):
    """Which shares of the training patients the linear probe learns from, and how often."""

    enabled: bool = Field(False, description="fits a probe per share and draw")
    shares: tuple[float, ...] = Field(
        (0.05, 0.1, 0.25, 0.5, 1.0), min_length=1, description="of the training patients"
    )
    draws: int = Field(5, ge=2, description="draws of patients per share")
    seed: int = Field(0, ge=0)

    @field_validator("shares")
    @classmethod
    def _ascending(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if min(shares) <= 0 or max(shares) > 1 or list(shares) != sorted(set(shares)):
            raise ValueError("shares are ascending, above 0 and at most 1")
        return shares


class AssessmentConfig(Config):
    """Which tasks are asked, of which seeds, by which protocols, and how sure the answers are."""

    protocols: tuple[str, ...] = Field(
        (MAIN,), description="linear, mae_probe, knn, joined by + in one text; or all"
    )
    # The protocols there are, one line each.
    linear_probe: LinearProbeConfig = LinearProbeConfig()
    mae_probe: MaeProbeConfig = MaeProbeConfig()
    knn: KnnConfig = KnnConfig()

    tasks: tuple[str, ...] = Field(
        ("pathology",), min_length=1, description="names, joined by + in one text; or all"
    )
    own_tasks: tuple[TaskConfig, ...] = Field((), description="tasks on further columns")
    seeds: Seeds = Field(
        (), description="trainings that are evaluated, joined by + in one text; all if empty"
    )
    without_callback: WithoutCallback = Field(
        "benign", description="what BENIGN_WITHOUT_CALLBACK counts as, or that it is left out"
    )
    bootstrap_draws: int = Field(DRAWS, ge=100, description="for each interval and each p-value")
    seed: int = Field(0, ge=0)
    subgroups: tuple[str, ...] = Field(
        VARIABLES, description="columns of the lesion table by which metrics are split up"
    )
    label_efficiency: LabelEfficiencyConfig = LabelEfficiencyConfig()
    comparison: ComparisonConfig = ComparisonConfig()

    @classmethod
    def known_protocols(cls) -> tuple[str, ...]:
        """Names of the protocols that there are settings of."""
        defaults = [field.default for field in cls.model_fields.values()]
        return tuple(one.protocol for one in defaults if isinstance(one, Probe))

    def probes(self) -> dict[str, Probe]:
        """The protocols asked, by name."""
        settings = [getattr(self, name) for name in type(self).model_fields]
        probes = {one.protocol: one for one in settings if isinstance(one, Probe)}
        return {name: probes[name] for name in self.protocols}

    def task(self, name: str) -> TaskConfig:
        """The task of that name.

        Raises:
            MiramError: There is none.
        """
        known = _known(self.own_tasks)
        if name not in known:
            raise MiramError(f"unknown task {name!r}: choose among {', '.join(known)}")
        return known[name]

    def all_tasks(self) -> tuple[TaskConfig, ...]:
        """The tasks asked, one's own behind the named ones."""
        names = dict.fromkeys((*self.tasks, *(task.name for task in self.own_tasks)))
        return tuple(self.task(name) for name in names)

    @field_validator("protocols", mode="before")
    @classmethod
    def _protocol_names(cls, given: Any) -> Any:
        return _names(given, cls.known_protocols())

    @field_validator("protocols")
    @classmethod
    def _main_first(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = cls.known_protocols()
        if unknown := set(names) - set(known):
            raise ValueError(f"no protocol {min(unknown)!r}: choose among {', '.join(known)}")
        if MAIN not in names:
            raise ValueError(f"{MAIN} has to be among them: methods are compared by it")
        return tuple(name for name in known if name in names)

    @field_validator("tasks", mode="before")
    @classmethod
    def _task_names(cls, given: Any) -> Any:
        return _names(given, TASKS)

    @model_validator(mode="after")
    def _consistent(self) -> "AssessmentConfig":
        own = [task.name for task in self.own_tasks]
        repeated = [name for place, name in enumerate(own) if name in (*TASKS, *own[:place])]
        if repeated:
            raise ValueError(f"there is a task {repeated[0]!r} already: give yours another name")
        known = _known(self.own_tasks)
        for name in (*self.tasks, *self.comparison.tasks):
            if name not in known:
                raise ValueError(f"unknown task {name!r}: choose among {', '.join(known)}")
        return self


def _names(given: Any, known: Iterable[str]) -> Any:
    """Names as a list, from a text such as `pathology+density` or `all`; else as they are."""
    return tuple(known) if given == "all" else listed(given)


def _known(own: tuple[TaskConfig, ...]) -> dict[str, TaskConfig]:
    return TASKS | {task.name: task for task in own}
