"""What there is to tell an MLflow server, as plain records that can wait on a disk."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["open", "note", "forget", "params", "tags", "metrics", "artifact", "picture", "end"]
Status = Literal["FINISHED", "FAILED", "KILLED"]

MOST_METRICS = 1000  # that MLflow takes in one request


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Operation:
    """One thing to tell the server.

    Attributes:
        kind: What is told.
        run: Name of the run within the command; the server's own is known once it was opened.
        values: By kind:

            - open: `tags`, `parent` (a run or none), `resume` (path of a note or none)
            - note, forget: `path` of the file that is to hold the run's id, or no longer
            - params, tags: text by name
            - metrics: `step` and `metrics` by name
            - artifact: `path`
            - picture: `path` of a PNG file, `name`, `step`
            - end: `status`
        time: When it happened, in milliseconds since 1970.
    """

    kind: Kind
    run: str
    values: dict[str, Any]
    time: int = field(default_factory=now)

    def parts(self) -> list["Operation"]:
        """The same in operations of one value each: a refused value takes no other along."""
        if self.kind in ("params", "tags"):
            return [self._with({name: text}) for name, text in self.values.items()]
        if self.kind == "metrics":
            step = self.values["step"]
            metrics = self.values["metrics"]
            return [self._with({"step": step, "metrics": {k: v}}) for k, v in metrics.items()]
        return [self]

    def _with(self, values: dict[str, Any]) -> "Operation":
        return Operation(self.kind, self.run, values, self.time)


def first_request(operations: Iterable[Operation]) -> list[Operation]:
    """Those at the front that go in one request: one operation, or the metrics of many steps.

    Args:
        operations: In their order; at least one.
    """
    taken: list[Operation] = []
    metrics = 0
    for operation in operations:
        if taken and (operation.kind, operation.run) != ("metrics", taken[0].run):
            break
        metrics += len(operation.values.get("metrics", ()))
        if taken and metrics > MOST_METRICS:
            break
        taken.append(operation)
        if operation.kind != "metrics":
            break
    return taken
