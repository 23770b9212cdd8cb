"""Commands on a store of their own, run as a Kedro session runs them."""

import shutil
from types import SimpleNamespace

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset
from mlflow import MlflowClient
from mlflow_commands import make_config

from miram.integrations.mlflow.hook import MlflowHook


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow database without runs; making one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def config(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return make_config(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)


@pytest.fixture
def catalog(tmp_path):
    """Entries as in the catalog of the project; whatever else is named is kept in memory."""

    def entry(kind, name, **asked):
        return kind(filepath=str(tmp_path / name), metadata={"mlflow": asked})

    entries = {"params:source": MemoryDataset("phantom")}
    for method in ("mae", "miram_nystrom"):
        files = {
            "metrics": entry(JSONDataset, f"{method}.json", log="evaluation"),
            "history": entry(CSVDataset, f"{method}.csv", log="history"),
            "finetuned_metrics": entry(
                JSONDataset, f"{method}.ft.json", log="evaluation", prefix="finetuned/"
            ),
        }
        entries |= {f"{method}.{name}": dataset for name, dataset in files.items()}
    return DataCatalog({**entries, "audit": entry(CSVDataset, "audit.csv", log="audit")})


@pytest.fixture
def run_command(catalog):
    """Run nodes as one command; gives the hook and the error that ended it, if any did."""
    number = 0

    def run(config, *nodes, runner=None, **inputs):
        nonlocal number
        number += 1
        for name, value in inputs.items():
            catalog[name] = MemoryDataset(value, copy_mode="assign")
        hook, manager = MlflowHook(), _create_hook_manager()
        hook.config, run.hook = config, hook
        manager.register(hook)
        pipeline, params = Pipeline(nodes), {"run_id": f"{number:04}", "pipeline_names": ["probe"]}
        known = {"run_params": params, "pipeline": pipeline, "catalog": catalog}
        manager.hook.before_pipeline_run(**known)
        try:
            (runner or SequentialRunner()).run(pipeline, catalog, hook_manager=manager)
        except Exception as error:
            manager.hook.on_pipeline_error(error=error, **known)
            return SimpleNamespace(hook=hook, error=error)
        manager.hook.after_pipeline_run(run_result={}, **known)
        return SimpleNamespace(hook=hook, error=None)

    return run
