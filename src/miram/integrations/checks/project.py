"""What is checked before any long work starts."""

import difflib
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines, settings
from kedro.io import DatasetError
from kedro.pipeline import Pipeline

from miram.configuration import new_names
from miram.errors import MiramError
from miram.integrations.checks.models import check_models
from miram.integrations.deferred import import_deferred
from miram.pipeline_registry import STUDY

PATH_PARAMETERS = {"raw_root", "data_root"}


class ProjectChecks:
    """Refuses unknown parameters, unknown sources, missing raw data and unfit runners."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Check the run-time parameters."""
        given = context._runtime_params or {}
        check_names(given, _known_parameters(context))
        if given.get("source", "phantom") != "phantom" and "raw_root" not in given:
            from miram.mammography.sources import make_source

            make_source(str(given["source"]))  # a name that is unknown is told first
            raise MiramError(
                f"source {given['source']} needs raw_root, the folder of its files: "
                f"kedro run --params source={given['source']},raw_root=..."
            )

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any
    ) -> None:
        """Check the runner, the source, the raw data and what is to be trained."""
        if "ParallelRunner" in str(run_params.get("runner")):
            raise MiramError(
                "ParallelRunner breaks the project's hooks; use the default runner: work that "
                "can run in parallel does so inside the nodes"
            )
        source = str(catalog.load("params:source")) if "params:source" in pipeline.inputs() else ""
        if source:
            from miram.mammography.sources import make_source

            make_source(source)
        if (source and source != "phantom") or "mammograms" in pipeline.inputs():
            load_raw_folder(catalog)
        for name in sorted(pipeline.inputs()):
            if not name.startswith("param") and not catalog.exists(name):
                raise MiramError(
                    f"{name} has not been made yet: run the earlier pipelines first "
                    f"(in order: {', '.join(STUDY)}) with the same data_root"
                )
        check_models(pipeline, catalog)


def load_raw_folder(catalog: Any) -> Path:
    """Give the folder of raw data, or say what is wrong with it."""
    try:
        folder: Path = catalog.load("mammograms")
    except DatasetError as error:
        if isinstance(error.__cause__, MiramError):
            raise error.__cause__ from None
        raise
    return folder


def check_names(given: dict[str, Any], known: set[str]) -> None:
    """Refuse a run-time parameter that nothing reads.

    Args:
        given: Run-time parameters.
        known: Names of the parameters in the configuration.

    Raises:
        MiramError: A name is unknown; the nearest known ones are suggested.
    """
    for name in given:
        if name not in known:
            if new := _renamed().get(name.rpartition(".")[2]):
                raise MiramError(f"there is no setting {name}: it is now {new}")
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise MiramError(f"unknown parameter {name!r}: did you mean {' or '.join(near)}?")


def _renamed() -> dict[str, str]:
    list(pipelines)  # imports the nodes, and so the classes of their parameters
    import_deferred()
    return new_names()


def _known_parameters(context: KedroContext) -> set[str]:
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=context.config_loader.conf_source,
        env=context.env,
        **settings.CONFIG_LOADER_ARGS,
    )
    return {*loader["parameters"], *PATH_PARAMETERS}
