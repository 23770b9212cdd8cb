"""Which MLflow server the project speaks to, and speaking to it for a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kedro.utils import find_kedro_project

from miram.errors import MiramError
from miram.integrations.mlflow.config import MlflowConfig, resolve_paths

_URI = "MLFLOW_TRACKING_URI"


def running_tracking() -> MlflowConfig:
    """The server of the `kedro run` that is going on, as `mlflow.yml` names it.

    Raises:
        MiramError: The project has no MLflow hook, or no context was made yet.
    """
    from kedro.framework.project import settings

    from miram.integrations.mlflow.hook import MlflowHook

    for hook in settings.HOOKS:
        if isinstance(hook, MlflowHook) and hasattr(hook, "config"):
            return hook.config
    raise MiramError("the registry is that of mlflow.yml: run this in the project, by kedro run")


def chosen_tracking(env: str | None = None, data_root: Path | None = None) -> str:
    """Address of the server for commands outside of `kedro run`.

    Args:
        env: Environment of the project's configuration.
        data_root: Folder of the project's data, where a local store lies.

    Returns:
        What the variable MLFLOW_TRACKING_URI says, else what `mlflow.yml` says.

    Raises:
        MiramError: Neither is there.
    """
    if given := os.environ.get(_URI):
        return given
    project = current_project()
    if project is None:
        raise MiramError(
            f"which registry? Set {_URI}, or run this in the project, whose mlflow.yml names one"
        )
    # Importing these sets up logging, which only a project should do.
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / "conf"),
        env=env,
        runtime_params={"data_root": str(data_root)} if data_root else {},
        **settings.CONFIG_LOADER_ARGS,
    )
    return resolve_paths(MlflowConfig.model_validate(loader["mlflow"]), project).tracking_uri


def current_project() -> Path | None:
    """The Kedro project that the working directory is in."""
    found: Path | None = find_kedro_project(Path.cwd())
    return found


def require_store(uri: str) -> None:
    """Check that a local store is there before it is asked: asking MLflow would make one.

    Args:
        uri: Address of a server, of which nothing is checked, or of a local store.

    Raises:
        MiramError: There is no such file.
    """
    store = MlflowConfig.model_validate({"tracking_uri": uri}).database
    if store and not Path(str(store).partition("?")[0]).is_file():
        raise MiramError(
            f"no model has been registered: there is no {store}; run `kedro run --pipeline promote "
            f"--params promote.method=...` first, or set {_URI} to the registry you mean"
        )


@contextmanager
def tracking(uri: str) -> Iterator[None]:
    """Let `models:/` mean the registry of a server.

    Args:
        uri: Address of the server.
    """
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]
