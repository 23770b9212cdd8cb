"""Which MLflow store records runs and models, and a client for it."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from miram.configuration import Config
from miram.errors import MiramError
from miram.files import atomic_path

URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_SECONDS = 10
# Without this tag the pages open on the views for language-model agents.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
# MLflow's defaults, 7 retries of 120 s each, suit a batch job without anything to train.
_ENVIRONMENT = {
    _TIMEOUT: str(_SECONDS),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS": "1",  # the steps of a second are one request
}
# They repeat at every request what the hook reports once.
_QUIET = {
    "alembic": logging.WARNING,
    "mlflow.pyfunc": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,  # a traceback; our one warning says it
    "mlflow.utils.async_logging.async_logging_queue": logging.CRITICAL,
    "urllib3.connectionpool": logging.ERROR,
}


class MlflowConfig(Config):
    """Where runs and models are recorded."""

    enabled: bool = Field(True, description="whether runs are recorded")
    experiment: str = Field("miram", min_length=1, description="name of the experiment")
    tracking_uri: str = Field(
        description="a database such as sqlite:///data/mlflow/mlflow.db, or address of a server; "
        "commands, but not runs, take MLFLOW_TRACKING_URI before it"
    )
    artifacts: str | None = Field(
        None, description="folder of models and figures of a local store; a server has its own"
    )
    unfinished: str = Field(
        "data/mlflow/unfinished",
        description="folder of notes on runs that MLflow does not have in full",
    )
    images: bool = Field(
        False, description="also give a server reconstructions and crops, which show patients"
    )

    @field_validator("tracking_uri")
    @classmethod
    def _no_folder(cls, uri: str) -> str:
        if uri.startswith("file:") or (":" not in uri and not uri.startswith("databricks")):
            raise ValueError(
                "MLflow no longer takes a folder: give a database such as "
                "sqlite:///data/mlflow/mlflow.db, or the address of a server, in conf/*/mlflow.yml"
            )
        return uri

    @property
    def database(self) -> Path | None:
        """The file of a local store; none for a server."""
        uri = self.tracking_uri
        return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None

    @property
    def takes_images(self) -> bool:
        """Whether pixels of patients may go there: anywhere but on this machine only if asked."""
        return self.images or self.database is not None

    def within(self, project: Path) -> "MlflowConfig":
        """The same with relative paths taken from the project, not the working directory."""
        changes: dict[str, Any] = {"unfinished": str(project / self.unfinished), "artifacts": None}
        if self.database:
            changes["tracking_uri"] = f"{_SQLITE}{project / self.database}"
            if self.artifacts:
                changes["artifacts"] = (project / self.artifacts).as_uri()
        return self.model_copy(update=changes)


def open_client(config: MlflowConfig) -> Any:
    """A client of the store; a local one is made where it does not exist."""
    from mlflow import MlflowClient

    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    if config.database and not config.database.exists():
        # Whole or not at all: MLflow cannot open one whose tables a killed process half made.
        with atomic_path(config.database) as temporary:
            MlflowClient(tracking_uri=f"{_SQLITE}{temporary}").search_experiments(max_results=1)
    return MlflowClient(tracking_uri=config.tracking_uri)


def experiment_id(client: Any, config: MlflowConfig) -> str:
    """Id of the experiment; it is made where it does not exist."""
    found = client.get_experiment_by_name(config.experiment)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(config.experiment, config.artifacts, _MODEL_TRAINING))


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


@contextmanager
def time_to_upload(path: Path) -> Iterator[None]:
    """Wait longer for a server that stores large files: a second more for each megabyte.

    A user's own MLFLOW_HTTP_REQUEST_TIMEOUT stays.
    """
    usual = str(_SECONDS)
    if os.environ.get(_TIMEOUT) != usual:
        yield
        return
    files = [path] if path.is_file() else path.rglob("*")
    os.environ[_TIMEOUT] = str(_SECONDS + sum(file.stat().st_size for file in files) // 1_000_000)
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = usual


def require_store(uri: str) -> None:
    """Check that a local store exists before it is opened: MLflow would make one.

    Raises:
        MiramError: There is no such file.
    """
    store = MlflowConfig(tracking_uri=uri).database
    if store and not Path(str(store).partition("?")[0]).is_file():
        raise MiramError(
            f"no model has been registered: there is no {store}; run `kedro run --pipeline promote "
            f"--params promote.method=...` first, name the study with --data-root, or set "
            f"{URI_VARIABLE} to the registry you mean"
        )


@contextmanager
def registry_at(uri: str) -> Iterator[None]:
    """Let `models:/` mean the registry of a server."""
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]


def flatten_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics with intervals as single MLflow metrics: `pathology.auc`, `.auc.lower`, `.auc.upper`.

    With several seeds or repeats there are `.auc.seed_deviation` and `.auc.repeat_deviation`, too.
    """
    flat: dict[str, float] = {}
    for task, found in metrics["tasks"].items():
        flat |= {f"{task}.{name}": float(found[name]) for name in ("lesions", "patients")}
        for name, values in found["metrics"].items():
            key = f"{task}.{name}"
            flat |= {key: values["estimate"], f"{key}.lower": values["lower"]}
            flat[f"{key}.upper"] = values["upper"]
            for spread in ("seed_deviation", "repeat_deviation"):
                if values.get(spread) is not None:
                    flat[f"{key}.{spread}"] = values[spread]
    return flat
