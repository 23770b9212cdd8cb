"""A run of the project: of all methods, or of those that are asked for."""

from collections.abc import Callable, Collection
from contextlib import chdir
from functools import cached_property
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines, settings
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline

from miram.integrations.parameters import check_settings
from miram.integrations.run_log import said_once
from miram.models.methods import BASELINES, METHODS, check_names, choose_methods
from miram.pipeline_registry import register_pipelines

_STUDY = "__default__"


class StudySession(KedroSession):
    """Runs pipelines for the methods of `methods` or of `--namespaces`."""

    _loader: Any = None

    def _get_config_loader(self) -> Any:
        """One for as long as the run-time parameters are the same, so that files are read once."""
        if self._loader is None or self._loader.runtime_params != self.store.get("runtime_params"):
            self._loader = super()._get_config_loader()
        return self._loader

    def run(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Run as `KedroSession.run` does.

        With `namespaces` and no pipeline the whole study is run for these methods: also what
        comes before them, the baselines and the report.

        Raises:
            MiramError: There is no such method, or a setting has a name that nothing reads.
        """
        names = options.get("pipeline_names") or [options.get("pipeline_name") or _STUDY]
        namespaces = list(options.get("namespaces") or ())
        check_names(namespaces)
        whole = list(names) == [_STUDY]
        if asked := [name for name in namespaces if whole or name in METHODS]:
            given = self.store.get("runtime_params") or {}
            self._store["runtime_params"] = {**given, "methods": "+".join(asked)}
        if whole:
            options["namespaces"] = []
        check_settings(self._get_config_loader(), self.store.get("runtime_params") or {})
        try:
            with said_once():
                return super().run(*arguments, **options)
        finally:
            # What else this process opens, as a notebook does, has all pipelines again.
            pipelines.set_requested(None)


class StudyContext(KedroContext):
    """Leaves the pipelines of the methods of `methods`: what is run, and what Kedro-Viz draws.

    Kedro builds pipelines before it reads parameters, so `methods` can be followed only here.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        found = register_pipelines()  # those that were asked for
        for name, pipeline in found.items():
            pipelines[name] = pipeline  # of all methods again, so that all settings are validated
        parameters = self.params
        methods = choose_methods(parameters["methods"], parameters)
        made = {name for pipeline in found.values() for name in pipeline.all_outputs()}
        for name, pipeline in found.items():
            pipelines[name] = of_methods(
                pipeline, methods, lambda dataset: dataset in made or self._exists(dataset)
            )

    def _exists(self, dataset: str) -> bool:
        with chdir(self.project_path):
            return bool(self._datasets.exists(dataset))

    @cached_property
    def _datasets(self) -> Any:
        """The catalog without the hooks that follow it, which are for a run."""
        loader = self.config_loader
        return settings.DATA_CATALOG_CLASS.from_config(loader["catalog"], loader["credentials"])


def of_methods(
    pipeline: Pipeline, methods: Collection[str], at_hand: Callable[[str], bool]
) -> Pipeline:
    """Leave out the nodes of other methods; compare and report what there is of these.

    `at_hand` tells whether a dataset is there or will be made. Where no method has been evaluated,
    the report is of all of them.
    """
    from miram.pipelines.report import create_pipeline as report

    whole = report()
    kept = Pipeline(
        [
            node
            for node in (pipeline - whole).nodes
            if node.namespace not in METHODS or node.namespace in methods
        ]
    )
    if not set(whole.nodes) <= set(pipeline.nodes):
        return kept

    def there(names: Collection[str]) -> list[str]:
        return [name for name in names if at_hand(f"{name}.evaluation")]

    return kept + report(there(methods) or methods, there(BASELINES))
