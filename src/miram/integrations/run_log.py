"""What `kedro run` says: each node as it begins, and at the end what was made and what to do next.

Kedro names all inputs of a node, says each error twice and gives hints of its own for a run that
was stopped; `conf/logging.yml` keeps it quiet.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from miram.integrations.crowd import crowd

log = logging.getLogger(__name__)

_THEN = "next: `kedro run --pipeline {}` with the same options"
# The first of these that a run has made is what it was run for. Methods have some of their own.
_RESULTS = {
    "report": ("report", "open it with `miram report --data-root {root} --open`"),
    "embeddings": ("summary of the features", "the table and its audit lie beside it"),
    "exports": ("exports", "docs/models.md tells how each is loaded"),
    "finetuned_evaluation": ("metrics of fine-tuning", _THEN.format("report")),
    "evaluation": ("metrics", _THEN.format("report")),
    "encoder": ("encoders", _THEN.format("probe")),  # or _WITHOUT_LESIONS
    "crops": ("crops", _THEN.format("pretrain")),
    "lesions": ("lesion table", _THEN.format("rois")),
    "mammograms": ("mammograms", _THEN.format("ingest")),
}
_WITHOUT_LESIONS = "next: `miram embed FOLDER --model {model} --out features.parquet`"


class Once(logging.Filter):
    """Lets a record with `once` through once: what is so of the data, every method repeats."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is new, or may be repeated."""
        if not getattr(record, "once", False):
            return True
        text = record.getMessage()
        new = text not in self._known
        self._known.add(text)
        return new


@contextmanager
def said_once() -> Iterator[None]:
    """Show what is to be said once in a run once, wherever logs are shown."""
    filters = [(handler, Once()) for handler in logging.getLogger().handlers]
    for handler, once in filters:
        handler.addFilter(once)
    try:
        yield
    finally:
        for handler, once in filters:
            handler.removeFilter(once)


class RunLog:
    """Logs nodes and results."""

    @hook_impl(trylast=True)  # after checks that may end the run
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Say if other programs are in the way, and count what is to be done."""
        if words := crowd():
            log.warning(words)
        self.nodes, self.begun, self.start = len(pipeline.nodes), 0, time.monotonic()
        self.running: set[str] = set()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Name a node that begins."""
        self.begun += 1
        self.running.add(node.name)
        log.info("Running node: %s (%d of %d)", node.name, self.begun, self.nodes)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """One less is running."""
        self.running.discard(node.name)

    @hook_impl
    def on_node_error(self, node: Node, error: Exception) -> None:
        """Name the node that failed; its error ends the command, at once if no other node runs.

        Kedro lets those that run beside it finish, and those that need nothing more run too.
        """
        self.running.discard(node.name)
        if self.running:
            log.error("Node %s did not finish: %s", node.name, error)
        else:
            log.error("Node %s did not finish", node.name)

    @hook_impl(trylast=True)  # after all that other hooks have to write
    def after_pipeline_run(self, pipeline: Pipeline, catalog: Any) -> None:
        """Say what was made, and what to do with it."""
        log.info("Finished %d nodes in %.0f s", self.nodes, time.monotonic() - self.start)
        if words := summary(pipeline, catalog):
            log.info(words)


def summary(pipeline: Pipeline, catalog: Any) -> str:
    """What a run has made, where it is and what comes next, in one line.

    Empty where nothing was made that somebody looks for.
    """
    made = pipeline.all_outputs()
    if "promotion" in made:
        return _promoted(catalog.load("promotion"))
    for name, (title, advice) in _RESULTS.items():
        found = sorted(one for one in made if one.rpartition(".")[2] == name)
        if found:
            path = Path(catalog.get(found[0])._filepath)
            others = f" and {len(found) - 1} more" if len(found) > 1 else ""
            if name == "encoder" and "splits" in pipeline.inputs() and catalog.load("splits").empty:
                advice = _WITHOUT_LESIONS.format(model=_short(path))
            # In the default layout a study's data lie two levels above any of its files.
            return f"{title}: {_short(path)}{others}; {advice.format(root=_short(path.parents[1]))}"
    return ""


def _promoted(promotion: dict[str, Any]) -> str:
    name, alias = promotion["name"], promotion["alias"]
    return (
        f"registered {name} version {promotion['version']} as {alias}: {promotion['reason']}; "
        f"use it with `miram embed FOLDER --model {promotion['uri']} --out features.parquet`, "
        "and the --data-root of this study"
    )


def _short(path: Path) -> Path:
    """A path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
