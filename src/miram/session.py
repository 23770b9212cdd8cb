"""A run of the project: of all methods, or of those that are asked for.

Kedro builds pipelines before it reads parameters, so `methods` can be followed only here.
"""

from collections.abc import Collection, Iterator
from contextlib import chdir, contextmanager
from typing import Any

from kedro.framework.project import pipelines, settings
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline

from miram.errors import MiramError
from miram.integrations.parameters import check_settings
from miram.models.methods import BASELINES, METHODS, check_names, choose_methods, require_blocks

_STUDY = "__default__"


class StudySession(KedroSession):
    """Runs pipelines for the methods of `methods`, and of the study for those of `--namespaces`."""

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
        if namespaces and list(names) == [_STUDY]:
            given = self.store.get("runtime_params") or {}
            self._store["runtime_params"] = {**given, "methods": "+".join(namespaces)}
            options["namespaces"] = namespaces = []
        loader = self._get_config_loader()
        pipelines.set_requested(None)  # also the settings of pipelines that are not run
        check_settings(loader, self.store.get("runtime_params") or {})
        # One namespace of one pipeline is run whatever `methods` says.
        require_blocks(namespaces, loader["parameters"])
        asked = loader["parameters"]["methods"]
        methods = METHODS if namespaces else choose_methods(asked, loader["parameters"])
        catalog = settings.DATA_CATALOG_CLASS.from_config(loader["catalog"], loader["credentials"])
        pipelines.set_requested(None if list(names) == [_STUDY] else list(names))

        def exists(dataset: str) -> bool:
            with chdir(self._project_path):
                return bool(catalog.exists(dataset))

        with _replaced(
            {
                name: of_methods(pipelines[name], methods, exists)
                for name in names
                if name in pipelines
            }
        ):
            return super().run(*arguments, **options)


def of_methods(pipeline: Pipeline, methods: Collection[str], exists: Any) -> Pipeline:
    """Leave out the nodes of other methods; compare and report what there is of these.

    `exists` tells whether a dataset is there already.

    Raises:
        MiramError: A report is asked for, and no method has been evaluated.
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
    made = kept.all_outputs()
    there = [
        name
        for name in (*methods, *BASELINES)
        if f"{name}.evaluation" in made or exists(f"{name}.evaluation")
    ]
    if not set(there) & set(methods):
        raise MiramError(
            f"there is nothing to report: none of {', '.join(methods)} has been evaluated. Run "
            "`kedro run --pipelines pretrain,probe` first, with the same data_root"
        )
    return kept + report(
        [name for name in there if name in METHODS], [name for name in there if name in BASELINES]
    )


@contextmanager
def _replaced(changed: dict[str, Pipeline]) -> Iterator[None]:
    """Let registered pipelines be others for a while."""
    before = {name: pipelines[name] for name in changed}
    for name, pipeline in changed.items():
        pipelines[name] = pipeline
    try:
        yield
    finally:
        for name, pipeline in before.items():
            pipelines[name] = pipeline
