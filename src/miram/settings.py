"""Settings of the Kedro project."""

from kedro.config import OmegaConfigLoader

from miram.integrations.checks.labels import LabelCheck
from miram.integrations.checks.project import ProjectChecks
from miram.integrations.mlflow.hook import MlflowHook

HOOKS = (ProjectChecks(), LabelCheck(), MlflowHook())

CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment changes single values, not whole blocks.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "mlflow": "soft"},
    "config_patterns": {"mlflow": ["mlflow*"]},
}
