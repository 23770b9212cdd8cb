"""The registered versions of a method: registering, promoting, going back, and loading."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from miram.errors import MiramError
from miram.evaluation.features.pooling import FeatureConfig
from miram.files import newest_version
from miram.mammography.crops.cut import CropConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.provenance import git_commit
from miram.serving.predictor import RESEARCH_USE_ONLY, Predictor
from miram.serving.registry.decision import (
    CHAMPION,
    Decision,
    PromotionConfig,
    decide,
    not_compared,
)
from miram.serving.registry.tracking import (
    URI_VARIABLE,
    MlflowConfig,
    experiment_id,
    flatten_metrics,
    now,
    open_client,
    registry_at,
    require_store,
    time_to_upload,
)
from miram.serving.requests import TISSUE_PATCHES

PREDICTIONS = "predictions.parquet"
_SCHEMES = ("models:/", "runs:/")
Settings = Callable[[], tuple[CropConfig, FeatureConfig]]


@dataclass(frozen=True)
class Release:
    """A model that asks for a place in the registry."""

    method: str
    predictor: Predictor
    metrics: dict[str, Any]  # of `assess_features`
    predictions: pd.DataFrame  # behind them
    config: PromotionConfig
    draws: int  # of the comparison
    seed: int  # of the draws


def registered_name(method: str) -> str:
    """Name of a method's model in the registry."""
    return f"miram-{method}"


def register(release: Release, config: MlflowConfig, parent: str = "") -> dict[str, Any]:
    """Register a model as a new version and give it an alias, with the reason.

    The alias is moved last: whatever fails before, the champion stays the same. `parent` is the
    id of the run that this one belongs to.

    Returns:
        What was done: `name`, `version`, `alias`, `uri`, `reason`, `comparison`, `tracking_uri`.
    """
    client, name = open_client(config), registered_name(release.method)
    _ensure_registered(client, name)
    champion = _by_alias(client, name, CHAMPION)
    decision = _counted(client, name, _decide(client, champion, release))
    experiment = experiment_id(client, config)
    run_id = _record_run(client, experiment, release, parent)
    logged = _upload(client, experiment, release, run_id)
    client.set_terminated(run_id)
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
        "tracking_uri": config.tracking_uri,
    }


def roll_back(method: str, version: int, because: str, tracking_uri: str | None = None) -> str:
    """Make an earlier version the champion again.

    Whoever serves `models:/miram-<method>@champion` gets it at the next start. Nothing is
    deleted; both versions say what happened.

    Args:
        method: Name of the method.
        version: The version to go back to.
        because: Why, kept with both versions.
        tracking_uri: Address of the registry; MLFLOW_TRACKING_URI by default.

    Returns:
        Address of the version.

    Raises:
        MiramError: There is no registry, no such version, or it is the champion.
    """
    uri = tracking_uri or os.environ.get(URI_VARIABLE)
    if not uri:
        raise MiramError(f"which registry? Set {URI_VARIABLE}, or give tracking_uri")
    require_store(uri)
    client, name = open_client(MlflowConfig(tracking_uri=uri)), registered_name(method)
    known = {int(found.version): found for found in client.search_model_versions(f"name='{name}'")}
    if version not in known:
        there = ", ".join(map(str, sorted(known))) or "none"
        raise MiramError(f"{name} has no version {version}: there are {there}")
    champion = _by_alias(client, name, CHAMPION)
    before = int(champion.version) if champion else None
    if before == version:
        raise MiramError(f"version {version} of {name} is the champion already")
    text = f"Champion again instead of version {before}: {because}"
    _add_to_description(client, name, known[version], text)
    if champion:
        text = f"No longer champion, rolled back to version {version}: {because}"
        _add_to_description(client, name, champion, text)
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
    evaluated = release.metrics["tasks"].get(config.task)
    if evaluated is None:
        raise MiramError(
            f"{release.method} was not evaluated on task {config.task}: name it in "
            "evaluation.tasks and run `kedro run --pipeline probe`"
        )
    before = None
    if champion:
        before = _predictions_of(client, champion)
        if before is None:
            reason = f"the predictions of version {champion.version} are gone from its run"
            return not_compared(config, reason)
    return decide(
        release.predictions,
        before,
        config,
        kind=evaluated["kind"],
        draws=release.draws,
        seed=release.seed,
    )


def _counted(client: Any, name: str, decision: Decision) -> Decision:
    """Count the comparisons on the same lesions: chance findings grow with their number."""
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


def _record_run(client: Any, experiment: str, release: Release, parent: str) -> str:
    """A run of its own, with the metrics and the predictions that later ones are compared to."""
    from mlflow.entities import Metric

    commit, at = git_commit(), now()
    tags = {
        "mlflow.runName": f"promote {release.method}",
        "mlflow.parentRunId": parent,
        "mlflow.source.git.commit": commit.removesuffix("-dirty"),
        "method": release.method,
        "git_commit": commit,
        "data_digest": str(release.predictor.about.get("data_digest", "")),
    }
    run = client.create_run(experiment, tags={name: tag for name, tag in tags.items() if tag})
    run_id = str(run.info.run_id)
    metrics = flatten_metrics(release.metrics)
    client.log_batch(run_id, [Metric(key, value, at, 0) for key, value in metrics.items()])
    with TemporaryDirectory() as folder:
        path = Path(folder) / PREDICTIONS
        release.predictions.to_parquet(path, index=False)
        with time_to_upload(path):
            client.log_artifact(run_id, str(path))
    return run_id


def _upload(client: Any, experiment: str, release: Release, run_id: str) -> Any:
    """Save the model and send its files as an output of the run; gives MLflow's entry of it."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    from miram.serving.registry.package import save_model

    logged = client.create_logged_model(experiment, registered_name(release.method), run_id)
    model_id = str(logged.model_id)
    try:
        with TemporaryDirectory() as name:
            folder = Path(name) / "model"
            model = Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_uuid=model_id,
                model_id=model_id,
            )
            save_model(folder, release.predictor, model)
            with time_to_upload(folder):
                client.log_model_artifacts(model_id, str(folder))
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
    except BaseException:
        client.finalize_logged_model(model_id, "FAILED")
        client.set_terminated(run_id, "FAILED")
        raise
    return client.finalize_logged_model(model_id, "READY")


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
    evaluated = release.metrics["tasks"][release.config.task]
    tags["lesions"], tags["patients"] = str(evaluated["lesions"]), str(evaluated["patients"])
    for metric, found in evaluated["metrics"].items():
        interval = f"{found['estimate']:.4f} [{found['lower']:.4f}, {found['upper']:.4f}]"
        tags[f"{release.config.task}.{metric}"] = interval
    return {key: value for key, value in tags.items() if value}


def _description(release: Release, decision: Decision) -> str:
    because = f" {release.config.because}" if release.config.because else ""
    return f"{RESEARCH_USE_ONLY}\n\nRegistered as {decision.alias}: {decision.reason}.{because}"


def _add_to_description(client: Any, name: str, version: Any, text: str) -> None:
    description = f"{version.description or ''}\n\n{text}".strip()
    client.update_model_version(name, version.version, description)


def load_predictor(model: str, tracking_uri: Callable[[], str], settings: Settings) -> Predictor:
    """Load what embeds mammograms; its `origin` names what was loaded.

    Args:
        model: `models:/...` of a registry, the folder of a predictor or of a registered model,
            or an `encoder.safetensors`.
        tracking_uri: Gives the address of the server, for a registered model.
        settings: Gives how crops are cut and read, for an encoder alone.

    Raises:
        MiramError: There is no such model, or it cannot be read.
    """
    if model.startswith(_SCHEMES):
        return _registered(model, tracking_uri())
    path = newest_version(model)
    if path.is_dir():
        return replace(Predictor.load(_inside(path)), origin=path.resolve().name)
    if path.suffix != ".safetensors":
        raise MiramError(
            f"no model at {model}: give models:/<name>@champion, the folder of a predictor, or "
            "an encoder.safetensors"
        )
    encoder = EncoderCheckpoint.load(path)
    crops, features = settings()
    crops = crops.model_copy(update={"backgrounds_per_image": TISSUE_PATCHES})
    about = {"encoder": path.name}
    return Predictor(encoder, features, crops, about=about, origin=path.name)


def _registered(model: str, uri: str) -> Predictor:
    import mlflow
    from mlflow.exceptions import MlflowException

    require_store(uri)
    with registry_at(uri), TemporaryDirectory() as temporary:
        try:
            # By its number, or the alias might have moved on between asking and loading.
            version = _numbered(model)
            folder = mlflow.artifacts.download_artifacts(version, dst_path=temporary)
        except (MlflowException, OSError) as error:
            raise MiramError(f"{model} cannot be loaded from {uri}: {error}") from error
        return replace(Predictor.load(_inside(Path(folder))), origin=version)


def _numbered(model: str) -> str:
    """The version that an alias means now, as `models:/name/3`; any other address as it is."""
    from mlflow import MlflowClient

    name, _, alias = model.removeprefix("models:/").partition("@")
    if not alias:
        return model
    version = MlflowClient().get_model_version_by_alias(name, alias)
    return f"models:/{name}/{version.version}"


def _inside(folder: Path) -> Path:
    """The predictor within a registered model, or the folder itself."""
    inner = folder / "artifacts" / "predictor"
    return inner if inner.is_dir() else folder
