"""Settings of the Kedro project."""

from miram.integrations.checks import ProjectChecks
from miram.integrations.config_loader import ReadableConfigLoader
from miram.integrations.mlflow.hook import MlflowHook
from miram.integrations.one_run import OneRun
from miram.integrations.run_log import RunLog
from miram.session import StudyContext, StudySession

HOOKS = (ProjectChecks(), OneRun(), MlflowHook(), RunLog())
SESSION_CLASS = StudySession
CONTEXT_CLASS = StudyContext

CONFIG_LOADER_CLASS = ReadableConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment changes single values, not whole blocks.
    "merge_strategy": {"parameters": "soft", "globals": "soft", "mlflow": "soft"},
    "config_patterns": {"mlflow": ["mlflow*"]},
}
