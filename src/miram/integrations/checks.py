"""What is checked before any long work starts."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError
from kedro.pipeline import Pipeline

from miram.errors import MiramError
from miram.integrations.parameters import warn_of_ignored
from miram.models.methods import METHODS, SUPERVISED
from miram.pipeline_registry import STUDY

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_PHANTOM = "phantom"
_LESIONS = "lesions"
_INGESTED = "ingested_source"
_CROPS = "crops"
_LEARNERS = (f"{SUPERVISED}.method", "finetuning")  # settings whose `task` is learned


class ProjectChecks:
    """Refuses what cannot work: missing data, models that do not fit, labels that are not there."""

    def __init__(self) -> None:
        self.learners: list[str] = []
        self.about = ""  # what a run reads and writes

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Check the environment and the source."""
        warn_of_ignored(Path(context.config_loader.conf_source), context.env)
        places = {**context.config_loader["globals"], **(context._runtime_params or {})}
        source = str(places.get("source", _PHANTOM))
        self.about = (
            f"settings: {context.env or 'base and local'}; "
            f"source: {context.config_loader['parameters'].get('source', source)}; "
            f"data_root: {places.get('data_root')}"
        )
        if source != _PHANTOM and "raw_root" not in places:
            _require_source(source)  # an unknown name is reported first
            raise MiramError(
                f"source {source} needs raw_root, the folder of its files: "
                f"kedro run --params source={source},raw_root=..., or a globals.yml that names it"
            )

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any
    ) -> None:
        """Check the runner, the data at hand, and what is to be trained."""
        log.info(self.about)
        inputs = pipeline.inputs()
        if "ParallelRunner" in str(run_params.get("runner")):
            raise MiramError(
                "ParallelRunner breaks the project's hooks; use the default runner: work that "
                "can run in parallel does so inside the nodes"
            )
        source = str(catalog.load("params:source")) if "params:source" in inputs else _PHANTOM
        _require_source(source)
        _check_same_source(pipeline, catalog)
        if source != _PHANTOM or "mammograms" in inputs:
            _check_raw_folder(catalog)
        for name in sorted(inputs):
            if not name.startswith("param") and not catalog.exists(name):
                raise MiramError(
                    f"{name} has not been made yet{_where(catalog)}: run the earlier pipelines "
                    f"first (in order: {', '.join(STUDY)}) with the same --env and data_root"
                )
        check_models(pipeline, catalog)
        self.learners = [name for name in _LEARNERS if f"params:{name}" in inputs]
        if self.learners and _LESIONS in inputs:
            check_labels(catalog.load(_LESIONS), self.learners, catalog)

    @hook_impl
    def after_node_run(self, catalog: Any, outputs: dict[str, Any]) -> None:
        """Check the labels of a lesion table that this run has made."""
        if _LESIONS in outputs:
            check_labels(outputs[_LESIONS], self.learners, catalog)


def check_models(pipeline: Pipeline, catalog: Any) -> None:
    """Build every model that is to be trained on the meta device, and compare sizes.

    Otherwise a setting that fits nothing would be found after hours of cropping and training.

    Raises:
        MiramError: The parts of a model do not fit each other, or the crops do not fit it.
    """
    from miram.models.methods.kinds import RandomConfig, build_on_meta_device

    made = pipeline.all_outputs()
    trained = [method for method in METHODS if f"{method}.encoder" in made]
    if not trained:
        return
    cut = _CROPS in made
    size = catalog.load("params:rois" if cut else _CROPS).image_size
    encoder = catalog.load("params:encoder")
    if encoder.channels != 1:
        raise MiramError(
            f"encoder.channels is {encoder.channels}, but mammograms have 1: set it to 1; weights "
            "for 3 channels are summed where a training starts from them"
        )
    build_on_meta_device(RandomConfig(), encoder)
    for name in trained:
        method = catalog.load(f"params:{name}.method")
        try:
            _check_method(method, encoder, size, cut=cut)
        except MiramError as error:
            raise MiramError(f"method {name}: {error}") from error


def _check_method(method: Any, encoder: Any, size: int, *, cut: bool) -> None:
    from miram.models.methods.kinds import build_on_meta_device

    build_on_meta_device(method, encoder)
    needed = method.crop_size(encoder)
    # A frozen model trains on no crops, and features are made at its own size.
    if size % needed and method.trained:
        recut = "" if cut else " and run `kedro run --pipeline rois`"
        raise MiramError(
            f"crops of {size} pixels do not fit a method that takes {needed}: set rois.image_size "
            f"to a multiple of {needed}{recut}, or change encoder.image_size"
        )


def check_labels(lesions: "pd.DataFrame", learners: Iterable[str], catalog: Any) -> None:
    """Look for the labels of the tasks that settings, the `learners`, name as their `task`.

    Otherwise all other methods would be trained first, for hours.

    Raises:
        MiramError: The lesions cannot answer a task.
    """
    from miram.evaluation.tasks.targets import task_targets

    for learner in learners:
        name = catalog.load(f"params:{learner}").task
        evaluation = catalog.load("params:evaluation")
        targets = task_targets(lesions, evaluation.task(name), evaluation.without_callback)
        if targets.supported:
            continue
        offered = (method for method in METHODS if f"params:{method}.method" in catalog)
        others = ",".join(method for method in offered if method != SUPERVISED)
        without = (
            f"; or run the study without it: `kedro run --namespaces {others}` with the same "
            "--params"
        )
        raise MiramError(
            f"{learner} cannot learn task {name!r}: {targets.skipped[-1].reason}. Set "
            f"{learner}.task to a task that the data supports"
            f"{without if learner.startswith(SUPERVISED) else ''}"
        )


def _require_source(name: str) -> None:
    from miram.mammography.sources import make_source

    make_source(name)


def _where(catalog: Any) -> str:
    folder = getattr(catalog.get(_CROPS), "_filepath", None)
    return f" in {folder.parents[1]}" if folder else ""


def _check_same_source(pipeline: Pipeline, catalog: Any) -> None:
    """Refuse to replace or to describe a study of another source, as without its --env."""
    made = pipeline.all_outputs()
    reads = _LESIONS in pipeline.inputs() and {"parameters", "mammograms"} & pipeline.inputs()
    if not (_LESIONS in made or reads) or not catalog.exists(_INGESTED):
        return
    asked, record = str(catalog.load("params:source")), catalog.get(_INGESTED)
    if asked != (ingested := str(record.load()["source"])):
        folder = record._filepath.parents[1]
        raise MiramError(
            f"{folder} holds a study of source {ingested}, and this run says source {asked}: give "
            "the --env or the source=...,raw_root=... that it was made with. For a study of "
            f"{asked} name another data_root, or delete {record._filepath}"
        )


def _check_raw_folder(catalog: Any) -> None:
    """Say what is wrong with the folder of raw data, if anything is."""
    try:
        catalog.load("mammograms")
    except DatasetError as error:
        if isinstance(error.__cause__, MiramError):
            raise error.__cause__ from None
        raise
