"""`miram ui`: the runs and the lineage of a study, in the browser, by MLflow and Kedro-Viz."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from miram.commands.options import AsJson, Env
from miram.errors import MiramError

if TYPE_CHECKING:
    from miram.serving.registry.tracking import MlflowConfig

HOST = "127.0.0.1"
_START_LIMIT = 120.0  # seconds

Process = subprocess.Popen[bytes]


def ui(
    data_root: Annotated[
        Path | None, typer.Option(help="folder of the study's data; default: of the parameters")
    ] = None,
    env: Env = None,
    mlflow_port: Annotated[int, typer.Option(help="port of MLflow")] = 5000,
    viz_port: Annotated[int, typer.Option(help="port of Kedro-Viz")] = 4141,
    as_json: AsJson = False,
) -> None:
    """Serve MLflow and Kedro-Viz of a study until Ctrl-C.

    Example: miram ui --data-root data
    """
    from miram.integrations.parameters import load_mlflow

    if data_root and not data_root.is_dir():
        raise MiramError(f"there is no study at {data_root}: name the data_root of a run")
    _require_free(mlflow_port, "--mlflow-port")
    _require_free(viz_port, "--viz-port")
    for number in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the terminal was closed
        signal.signal(number, lambda *_: sys.exit(0))
    config = load_mlflow(env, data_root and data_root.resolve())
    mlflow, viz = config.tracking_uri, f"http://{HOST}:{viz_port}"
    options = ["--host", HOST, "--port", str(viz_port)]
    options += ["--env", env] if env else []
    options += ["--params", f"data_root={data_root.resolve()}"] if data_root else []
    servers: list[Process] = []
    try:
        if config.database:  # else a server runs elsewhere
            mlflow = f"http://{HOST}:{mlflow_port}"
            servers.append(start_mlflow(config, mlflow_port))
            wait_for(mlflow, servers[0])
        servers.append(_start("kedro viz run --no-browser", *options))
        wait_for(viz, servers[-1])
        runs = runs_page(mlflow, config)
        if as_json:
            typer.echo(json.dumps({"mlflow": runs, "kedro_viz": viz}))
        else:
            typer.echo(f"MLflow    {runs}\nKedro-Viz {viz}\nopen them in a browser; Ctrl-C stops")
        servers[-1].wait()
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            end(server)


def _require_free(port: int, option: str) -> None:
    """Check that no server answers already: its pages would be taken for those of the study."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise MiramError(
            f"port {port} of {HOST} is taken ({error.strerror}): stop its server, or name another "
            f"port by {option}"
        ) from error


def start_mlflow(config: "MlflowConfig", port: int) -> Process:
    """Start MLflow on a local store."""
    store = ["--backend-store-uri", config.tracking_uri, "--host", HOST, "--port", str(port)]
    # One reader needs one process, and none of the jobs that evaluate traces.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "0"
    return _start("mlflow ui --workers 1", *store)


def runs_page(address: str, config: "MlflowConfig") -> str:
    """Address of the list of runs; of the front page while there are none."""
    from mlflow import MlflowClient

    found = MlflowClient(address).get_experiment_by_name(config.experiment)
    if not found:
        return address
    # Otherwise MLflow shows the tools for language models.
    return f"{address}/#/experiments/{found.experiment_id}?workflowType=machine_learning"


def wait_for(address: str, process: Process) -> None:
    """Wait until a server answers.

    Raises:
        MiramError: It stopped, or does not answer within two minutes.
    """
    import urllib.request

    started = time.monotonic()
    while time.monotonic() - started < _START_LIMIT:
        if process.poll() is not None:
            raise MiramError(f"the server of {address} stopped: is its port taken?")
        try:
            # An http address of this machine, made above.
            with urllib.request.urlopen(address, timeout=5):  # nosec B310
                return
        except OSError:
            time.sleep(0.5)
    raise MiramError(f"{address} does not answer")


def end(server: Process) -> None:
    """End a server with the processes that it started: Kedro-Viz leaves its own behind."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    server.wait()


def _start(command: str, *options: str) -> Process:
    # What they print hides the addresses; what they warn of is their own code.
    return subprocess.Popen(
        [sys.executable, "-m", *command.split(), *options],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )
