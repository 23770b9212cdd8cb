"""The registered versions of a method: registering, promoting, and going back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from miram.errors import MiramError
from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.server import Server
from miram.integrations.mlflow.values import flatten_metrics
from miram.provenance import git_commit
from miram.serving.predictor import RESEARCH_USE_ONLY, Predictor
from miram.serving.registry.decision import (
    CHALLENGER,
    CHAMPION,
    Decision,
    PromotionConfig,
    decide,
)
from miram.serving.registry.tracking import chosen_tracking, require_store

PREDICTIONS = "predictions.parquet"
_UPLOAD_SECONDS = "900"  # longest silence while weights travel


@dataclass(frozen=True)
class Release:
    """A model that asks for a place in the registry.

    Attributes:
        method: Name of the method.
        predictor: The model.
        metrics: Metrics of `assess_features`.
        predictions: Predictions behind them.
        config: Task, metric, force and reason.
        draws: Draws of the comparison.
        seed: Seed of the draws.
    """

    method: str
    predictor: Predictor
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    config: PromotionConfig
    draws: int
    seed: int


def registered_name(method: str) -> str:
    """Name of a method's model in the registry."""
    return f"miram-{method}"


def register(release: Release, tracking: MlflowConfig) -> dict[str, Any]:
    """Register a model as a new version and give it an alias, with the reason.

    The alias is moved last: whatever fails before, the champion stays who it was.

    Args:
        release: The model and its predictions.
        tracking: The server.

    Returns:
        What was done: `name`, `version`, `alias`, `uri`, `reason`, `comparison`, `tracking_uri`.
    """
    server = Server(tracking)
    client, name = server.client, registered_name(release.method)
    _ensure_registered(client, name)
    champion = _by_alias(client, name, CHAMPION)
    decision = _counted(client, name, _decide(client, champion, release))
    run_id = _record_run(server, release)
    logged = _upload(server, release, run_id)
    registered = client.create_model_version(
        name,
        logged.artifact_location,
        run_id,
        tags=_tags(release, decision, champion),
        description=_description(release, decision),
        model_id=logged.model_id,
    )
    version = str(registered.version)
    client.set_registered_model_alias(name, decision.alias, version)
    if decision.alias == CHAMPION and champion:
        client.set_model_version_tag(name, champion.version, "succeeded_by", version)
    return {
        "name": name,
        "version": int(version),
        "alias": decision.alias,
        "uri": f"models:/{name}@{decision.alias}",
        "reason": decision.reason,
        "comparison": decision.comparison and asdict(decision.comparison),
        "tracking_uri": tracking.tracking_uri,
    }


def roll_back(method: str, version: int, because: str, tracking: MlflowConfig | None = None) -> str:
    """Make an earlier version the champion again.

    Whoever serves `models:/miram-<method>@champion` gets it at the next start. Nothing is
    deleted; both versions say what happened.

    Args:
        method: Name of the method.
        version: The version to go back to.
        because: Why, kept with both versions.
        tracking: The server; that of MLFLOW_TRACKING_URI, else of mlflow.yml, if not given.

    Returns:
        URI of the version.

    Raises:
        MiramError: There is no registry, no such version, or it is the champion.
    """
    tracking = tracking or MlflowConfig.model_validate({"tracking_uri": chosen_tracking()})
    require_store(tracking.tracking_uri)
    client, name = Server(tracking).client, registered_name(method)
    known = {int(found.version): found for found in client.search_model_versions(f"name='{name}'")}
    if version not in known:
        there = ", ".join(map(str, sorted(known))) or "none"
        raise MiramError(f"{name} has no version {version}: there are {there}")
    champion = _by_alias(client, name, CHAMPION)
    before = int(champion.version) if champion else None
    if before == version:
        raise MiramError(f"version {version} of {name} is the champion already")
    told = f"Champion again instead of version {before}: {because}"
    _add_to_description(client, name, known[version], told)
    if champion:
        told = f"No longer champion, rolled back to version {version}: {because}"
        _add_to_description(client, name, champion, told)
    client.set_registered_model_alias(name, CHAMPION, str(version))
    return f"models:/{name}/{version}"


def _ensure_registered(client: Any, name: str) -> None:
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(
            name, description=f"{RESEARCH_USE_ONLY} Encoder and linear probe of lesion crops."
        )


def _by_alias(client: Any, name: str, alias: str) -> Any:
    aliases = client.get_registered_model(name).aliases
    return client.get_model_version(name, aliases[alias]) if alias in aliases else None


def _decide(client: Any, champion: Any, release: Release) -> Decision:
    config = release.config
    judged = release.metrics["tasks"].get(config.task)
    if judged is None:
        raise MiramError(
            f"{release.method} was not judged on task {config.task}: name it in "
            "evaluation.tasks and run `kedro run --pipeline probe`"
        )
    before = None
    if champion:
        before = _predictions_of(client, champion)
        if before is None:
            alias, word = (CHAMPION, "forced") if config.force else (CHALLENGER, "not promoted")
            reason = f"the predictions of version {champion.version} are gone from its run"
            return Decision(alias, f"{word}: {reason}")
    return decide(
        release.predictions,
        before,
        config,
        kind=judged["kind"],
        draws=release.draws,
        seed=release.seed,
    )


def _counted(client: Any, name: str, decision: Decision) -> Decision:
    """Tell how often the same lesions have been asked: luck grows with every comparison."""
    if decision.comparison is None:
        return decision
    before = client.search_model_versions(f"name='{name}'")
    number = 1 + sum("compared_with" in version.tags for version in before)
    return replace(decision, reason=f"{decision.reason}; comparison {number} under this name")


def _predictions_of(client: Any, version: Any) -> pd.DataFrame | None:
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(version.run_id, PREDICTIONS, folder)
        except (MlflowException, OSError):
            return None
        return pd.read_parquet(path)


def _record_run(server: Server, release: Release) -> str:
    """A run of its own, with the metrics and the predictions that later ones are compared to."""
    client = server.client
    tags = {
        "mlflow.runName": f"promote {release.method}",
        "method": release.method,
        "git_commit": git_commit(),
        "data_digest": str(release.predictor.about.get("data_digest", "")),
    }
    run = client.create_run(server.experiment, tags=tags)
    run_id = str(run.info.run_id)
    for key, value in flatten_metrics(release.metrics).items():
        client.log_metric(run_id, key, value)
    with TemporaryDirectory() as folder:
        path = Path(folder) / PREDICTIONS
        release.predictions.to_parquet(path, index=False)
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id)
    return run_id


def _upload(server: Server, release: Release, run_id: str) -> Any:
    """Save the model and send its files; gives MLflow's entry of it."""
    from mlflow.models import Model

    from miram.serving.registry.package import save_model

    logged = server.client.create_logged_model(
        server.experiment, registered_name(release.method), run_id
    )
    model_id = str(logged.model_id)
    try:
        with TemporaryDirectory() as folder, _patience():
            model = Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_uuid=model_id,
                model_id=model_id,
            )
            save_model(Path(folder) / "model", release.predictor, model)
            server.client.log_model_artifacts(model_id, str(Path(folder) / "model"))
    except BaseException:
        server.client.finalize_logged_model(model_id, "FAILED")
        raise
    return server.client.finalize_logged_model(model_id, "READY")


@contextmanager
def _patience() -> Iterator[None]:
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    os.environ[name] = _UPLOAD_SECONDS
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _tags(release: Release, decision: Decision, champion: Any) -> dict[str, str]:
    predictor = release.predictor
    tags = {
        "notice": RESEARCH_USE_ONLY,
        "method": release.method,
        "task": release.config.task,
        "predictor_digest": predictor.digest(),
        "data_digest": str(predictor.about.get("data_digest", "")),
        "git_commit": git_commit(),
        "decision": decision.alias,
        "reason": decision.reason,
        "compared_with": str(champion.version) if champion else "",
        "forced": str(release.config.force).lower(),
        "because": release.config.because,
    }
    judged = release.metrics["tasks"][release.config.task]
    tags["lesions"], tags["patients"] = str(judged["lesions"]), str(judged["patients"])
    for metric, found in judged["metrics"].items():
        told = f"{found['estimate']:.4f} [{found['lower']:.4f}, {found['upper']:.4f}]"
        tags[f"{release.config.task}.{metric}"] = told
    return {key: value for key, value in tags.items() if value}


def _description(release: Release, decision: Decision) -> str:
    because = f" {release.config.because}" if release.config.because else ""
    return f"{RESEARCH_USE_ONLY}\n\nRegistered as {decision.alias}: {decision.reason}.{because}"


def _add_to_description(client: Any, name: str, version: Any, text: str) -> None:
    description = f"{version.description or ''}\n\n{text}".strip()
    client.update_model_version(name, version.version, description)
