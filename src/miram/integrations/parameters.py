"""The project's configuration, read as `kedro run` reads it."""

import logging
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kedro.config import MissingConfigException
from kedro.utils import find_kedro_project

from miram.configuration import flatten
from miram.errors import MiramError

if TYPE_CHECKING:
    from miram.serving.registry.tracking import MlflowConfig

log = logging.getLogger(__name__)

_LOCAL = "local"
_MOST_NAMED = 10


def load_parameters(env: str | None = None) -> dict[str, Any]:
    """Read the parameters of an environment: plain values by name, not validated.

    Raises:
        MiramError: The folder is in no project, or there is no such environment.
    """
    project = _project()
    try:
        parameters: dict[str, Any] = _loader(project, env)["parameters"]
    except MissingConfigException as error:
        raise MiramError(f"there are no parameters under {project / 'conf'}") from error
    return parameters


def load_mlflow(env: str | None = None, data_root: Path | None = None) -> "MlflowConfig":
    """Read `mlflow.yml`; `data_root` is where a local store lies.

    Raises:
        MiramError: The folder is in no project, or there is no such environment.
    """
    from miram.serving.registry.tracking import MlflowConfig

    project = _project()
    params = {"data_root": str(data_root)} if data_root else {}
    values = _loader(project, env, params)["mlflow"]
    return MlflowConfig.model_validate(values).within(project)


def registry_uri(env: str | None = None, data_root: Path | None = None) -> str:
    """Address of the model registry for commands: MLFLOW_TRACKING_URI, else of `mlflow.yml`."""
    from miram.serving.registry.tracking import URI_VARIABLE

    if given := os.environ.get(URI_VARIABLE):
        return given
    if find_kedro_project(Path.cwd()) is None:
        raise MiramError(
            f"which registry? Set {URI_VARIABLE}, or run this in the project, whose mlflow.yml "
            "names one"
        )
    return load_mlflow(env, data_root).tracking_uri


@cache
def warn_of_ignored(conf: Path, env: str | None) -> None:
    """Log the settings of `conf/local` that an environment of another name leaves aside.

    Kedro lays one folder over `conf/base`: the named one, or `conf/local` where none is named.
    """
    if env in (None, _LOCAL):
        return
    for path in sorted((conf / _LOCAL).glob("**/*.y*ml")):
        names = list(flatten(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            log.warning(
                "--env %s does not read %s; copy what it shall have (%s%s) into %s",
                *(env, path, ", ".join(names[:_MOST_NAMED]), more, conf / env),
            )


def _project() -> Path:
    project: Path | None = find_kedro_project(Path.cwd())
    if project is None:
        raise MiramError(f"{Path.cwd()} is in no Kedro project: run this where conf/ and src/ are")
    return project


def _loader(project: Path, env: str | None, runtime_params: dict[str, Any] | None = None) -> Any:
    folder = project / "conf"
    if env is not None and not (folder / env).is_dir():
        known = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise MiramError(f"there is no environment {env!r}: one of {', '.join(known)}")
    # Importing this sets up logging, which only a project should do.
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    warn_of_ignored(folder, env)
    return config_loader(folder, env, runtime_params)


def config_loader(conf: str | Path, env: str | None, params: dict[str, Any] | None = None) -> Any:
    """Kedro's loader of a configuration, as the settings of the project want it."""
    from kedro.framework.project import settings

    return settings.CONFIG_LOADER_CLASS(
        conf_source=str(conf), env=env, runtime_params=params, **settings.CONFIG_LOADER_ARGS
    )
