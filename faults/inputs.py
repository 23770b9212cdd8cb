"""Thousands of damaged tables, settings, weights, JSON files and requests.

    python faults/inputs.py --count 1000

Each must be taken, or refused by an error that says what is wrong. Anything else is a fault.
"""

import argparse
import http.client
import json
import logging
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from damage import changed_bytes, changed_json, changed_rows
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydantic_core import to_json
from record import PROJECT, Tried, record

from miram.errors import MiramError
from miram.evaluation.statistics import StatisticsError

Attack = Callable[[Path, Any], None]


def tried(what: str, count: int, seed_: int, given_: st.SearchStrategy, attack: Attack) -> Tried:
    """Let so many drawn inputs be read in a folder; each place in the code is a fault once."""
    found, places = Tried(what), set()

    @seed(seed_)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(given_)
    def run(drawn: Any) -> None:
        with tempfile.TemporaryDirectory() as name:
            try:
                attack(Path(name), drawn)
            except (MiramError, StatisticsError):
                found.outcome["refused, with the reason"] += 1
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                place = (type(error), last.filename, last.lineno)
                text = f"{type(error).__name__} in {last.filename}:{last.lineno}: {error!s:.200}"
                found.outcome["FAULT"] += place in places
                if place not in places:
                    places.add(place)
                    found.fault(f"{text} at {drawn!r:.600}")
            else:
                found.outcome["taken"] += 1

    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
    finally:
        logging.disable(logging.NOTSET)
    return found


# Tables of a lab ---------------------------------------------------------------------------------

HEADINGS = "patient,image,mask,diagnosis,side,view,box_x0,box_y0,box_x1,box_y1,density,set"
ROW = "p{0},{0}.png,{1},{2},L,CC,1,2,30,40,{3},train"
LAB = [
    line.split(",")
    for line in (
        HEADINGS,
        *(
            ROW.format(n, "mask.png" * (n % 2), "cancer" if n % 3 else "benign", n % 4 + 1)
            for n in range(6)
        ),
    )
]


def read_lab(folder: Path, content: bytes) -> None:
    """What `miram table check` and ingestion do."""
    import numpy as np
    from PIL import Image

    from miram.mammography.sources import make_source
    from miram.mammography.sources.table_guess import guess_table

    for name in ("mask.png", *(f"{n}.png" for n in range(6))):
        Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(folder / name)
    (folder / "table.csv").write_bytes(content)
    guess = guess_table(folder / "table.csv", folder)
    make_source("image_table", guess.options).ingest(folder)


def tables(count: int, seed_: int) -> Tried:
    """Tables of a lab, guessed and ingested."""
    return tried("damaged tables of a lab (CSV)", count, seed_, changed_rows(LAB), read_lab)


def case_tables(count: int, seed_: int) -> Tried:
    """Tables of CBIS-DDSM."""
    from miram.mammography.phantom import PhantomConfig, phantom_files
    from miram.mammography.sources import make_source

    files = dict(phantom_files(PhantomConfig(patients=2, image_size=256, seed=1)))
    names = [name for name in files if name.endswith(".csv")]
    largest = max(names, key=lambda name: len(files[name]))
    rows = [line.split(",") for line in files[largest].decode().splitlines()]

    def read(folder: Path, content: bytes) -> None:
        for name, own in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if name == largest else own)
        make_source("cbis_ddsm").ingest(folder)

    return tried("damaged tables of CBIS-DDSM (CSV)", count, seed_, changed_rows(rows), read)


# Scores ------------------------------------------------------------------------------------------


def scores(count: int, seed_: int) -> Tried:
    """Files of scores and of labels, evaluated."""
    from miram.evaluation.score_files import ScoreFilesConfig, evaluate_scores, read_table
    from miram.evaluation.tasks.definitions import TASKS

    draw = random.Random(0)
    labels = [["lesion_id", "patient_id", "pathology"]]
    given_ = [["lesion_id", "class", "score", "seed", "fold"]]
    for n in range(24):
        labels.append([f"l{n}", f"p{n // 2}", "MALIGNANT" if n % 3 else "BENIGN"])
        given_.append([f"l{n}", "malignant", round(draw.random(), 3), 0, n % 3])
    config = ScoreFilesConfig(draws=100)

    def read(folder: Path, both: tuple[bytes, bytes]) -> None:
        paths = [folder / "scores.csv", folder / "labels.csv"]
        for path, content in zip(paths, both, strict=True):
            path.write_bytes(content)
        found, of = map(read_table, paths)
        result = evaluate_scores({"model": found}, of, TASKS["pathology"], config)
        to_json(result, inf_nan_mode="null")

    drawn = st.tuples(changed_rows(given_), changed_rows(labels))
    return tried("damaged files of scores and labels (CSV)", count, seed_, drawn, read)


# Settings ----------------------------------------------------------------------------------------


def settings_files(count: int, seed_: int) -> Tried:
    """Files of parameters, read and checked as `kedro run` does it."""
    from kedro.framework.startup import bootstrap_project

    from miram.cli import readable
    from miram.integrations.parameters import check_settings, config_loader

    bootstrap_project(PROJECT)
    base: dict[str, Any] = {}
    for path in sorted((PROJECT / "conf/base").glob("parameters*.yml")):
        base |= yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("sources",):
        base.pop(name, None)

    def read(folder: Path, given_: tuple[Any, bytes | None]) -> None:
        values, content = given_
        shutil.copytree(PROJECT / "conf", folder / "conf")
        own = folder / "conf/fuzz"
        own.mkdir()
        text = yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "replace")
        (own / "parameters.yml").write_bytes(text if content is None else content)
        try:
            check_settings(config_loader(folder / "conf", "fuzz"), {})
        except Exception as error:
            if readable(error) is None:
                raise
            raise MiramError(readable(error)) from error

    whole = yaml.safe_dump(base).encode()
    drawn = st.tuples(changed_json(base), st.none() | st.none() | changed_bytes(whole))
    return tried("damaged settings (YAML)", count, seed_, drawn, read)


# Weights and JSON --------------------------------------------------------------------------------


def checkpoints(count: int, seed_: int) -> Tried:
    """Weights whose header or bytes are others: described, loaded, built, and started from."""
    from safetensors.torch import save

    from miram.models.checkpoints.files import describe_checkpoint, load_checkpoint
    from miram.models.encoder import EncoderConfig
    from miram.models.pretrained_weights.files import read_weights

    config = EncoderConfig(
        name="vit_tiny_patch16_224",
        image_size=16,
        patch_size=8,
        overrides={"depth": 1, "embed_dim": 12, "num_heads": 3},
    )
    state = config.build(0).state_dict()
    header = {"holds": "encoder", "timm": config.timm_arguments, "training": {"seed": 0}}
    header |= {"pixels": "half", "license": "none", "image_size": 16}
    sound = save(state, {name: json.dumps(value) for name, value in header.items()})

    def read(folder: Path, given_: Any) -> None:
        content = given_
        if not isinstance(given_, bytes):
            values = given_ if isinstance(given_, dict) else {"timm": given_}
            texts = {
                str(k).encode("utf-8", "replace").decode(): json.dumps(v) for k, v in values.items()
            }
            content = save(state, texts)
        path = folder / "encoder.safetensors"
        path.write_bytes(content)
        describe_checkpoint(path)
        refusals = []
        for use in (lambda: load_checkpoint(path).build(), lambda: read_weights(path)):
            try:
                use()
            except MiramError as error:
                refusals.append(error)
        if refusals:
            raise refusals[0]

    drawn = changed_json(header) | changed_bytes(sound)
    return tried("damaged weights (safetensors)", count, seed_, drawn, read)


def json_files(count: int, seed_: int, predictor: Path) -> Tried:
    """Settings of a model in JSON."""
    from miram.serving.predictor import Predictor

    sound = json.loads((predictor / "settings.json").read_text())

    def read(folder: Path, given_: Any) -> None:
        shutil.copytree(predictor, folder / "predictor")
        path = folder / "predictor/settings.json"
        (path.parent / ".sha256").unlink()  # it would tell of every change
        content = given_ if isinstance(given_, bytes) else json.dumps(given_).encode()
        path.write_bytes(content)
        Predictor.load(path.parent).settings()

    drawn = changed_json(sound) | changed_bytes(json.dumps(sound).encode())
    return tried("damaged settings of a model (JSON)", count, seed_, drawn, read)


# Requests ----------------------------------------------------------------------------------------


def make_model(folder: Path) -> tuple[Path, Path]:
    """An untrained predictor and the MLflow model of it, which is served."""
    import numpy as np
    from mlflow.models import Model

    from miram.evaluation.config import AssessmentConfig
    from miram.evaluation.features.pooling import FeatureConfig
    from miram.mammography.crops.cut import CropConfig
    from miram.models.checkpoints.files import EncoderCheckpoint
    from miram.models.encoder import EncoderConfig
    from miram.serving.predictor import Predictor, fit_served_probe
    from miram.serving.registry.package import save_model

    config = EncoderConfig(
        name="vit_tiny_patch16_224",
        image_size=16,
        patch_size=8,
        overrides={"depth": 1, "embed_dim": 12, "num_heads": 3},
    )
    drawn, lesions = np.random.default_rng(0), [f"lesion{n}" for n in range(40)]
    labels = pd.DataFrame(
        {
            "lesion_id": lesions,
            "patient_id": [f"patient{n // 2}" for n in range(40)],
            "pathology": drawn.choice(["BENIGN", "MALIGNANT"], 40),
            "abnormality_type": "mass",
        }
    )
    splits = labels[["lesion_id", "patient_id"]].assign(
        strategy="official", leakage="drop", split="train", pretrain=True
    )
    splits.loc[30:, "split"] = "test"
    features = pd.DataFrame(drawn.normal(size=(40, 12)), columns=[f"f{n}" for n in range(12)])
    features.insert(0, "lesion_id", lesions)
    predictor = Predictor(
        EncoderCheckpoint.of(config.build(0), {"timm": config.timm_arguments}),
        FeatureConfig(pooling="mean"),
        CropConfig(image_size=16, context=1.25, backgrounds_per_image=2),
        fit_served_probe(features, labels, splits, "pathology", AssessmentConfig()),
        {"method": "mae", "data_digest": "0"},
    )
    predictor.save(folder / "predictor")
    save_model(folder / "model", predictor, Model())
    return folder / "predictor", folder / "model"


@contextmanager
def served(model: Path) -> Iterator[int]:
    """The model behind MLflow's own server; gives its port."""
    import uvicorn
    from mlflow import pyfunc
    from mlflow.pyfunc import scoring_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    app = scoring_server.init(pyfunc.load_model(str(model)))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield port
    server.should_exit = True
    thread.join()


def requests(count: int, seed_: int, model: Path) -> Tried:
    """Bodies of requests to the served model: answered, or refused with a status of 4xx."""
    import base64

    import mutations
    from mlflow import pyfunc

    film = base64.b64encode(mutations.films()["plain.dcm"]).decode()
    image = [[0.5 * (row == column) for column in range(16)] for row in range(16)]
    bodies = [
        {"dataframe_records": [{"image": image}, {"image": image, "bits": 8}]},
        {"dataframe_records": [{"dicom": film, "box": [2, 2, 30, 40]}]},
        {"dataframe_split": {"columns": ["image", "mask"], "data": [[image, image]]}},
        {"inputs": {"image": [image]}},
        {"instances": [{"image": image}]},
    ]
    kinds = ("application/json", "application/json; charset=utf-8", "text/csv", "text/plain", "")

    def send(folder: Path, given_: tuple[Any, str]) -> None:
        values, kind = given_
        content = values if isinstance(values, bytes) else json.dumps(values).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            connection.request("POST", "/invocations", content, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if 400 <= answer.status < 500:
            raise MiramError(text)
        if answer.status != 200:
            _require_mlflows_own(loaded, content.decode("utf-8", "replace"), kind)
            raise MiramError("MLflow's own parser fails, and the server goes on")

    changed = st.sampled_from(bodies).flatmap(
        lambda body: changed_json(body) | changed_bytes(json.dumps(body).encode())
    )
    drawn = st.tuples(changed, st.sampled_from(kinds[:1] * 6 + kinds))
    loaded = pyfunc.load_model(str(model))
    with served(model) as port:
        found = tried("damaged requests to a served model", count, seed_, drawn, send)
        send(Path(), (bodies[0], kinds[0]))  # it still answers
        return found


def _require_mlflows_own(model: Any, content: str, kind: str) -> None:
    """Repeat a request that failed here: ours are the faults that happen behind MLflow's parser."""
    from mlflow.pyfunc import scoring_server

    try:
        scoring_server.invocations(content, kind, model, model.metadata.get_input_schema())
    except Exception as error:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if any("served_model" in file or "/miram/" in file for file in files):
            raise


def attack(count: int, seed_: int, asked: str = "") -> list[Tried]:
    """Every kind of input so many times; only the kind of that name where one is asked for."""
    with tempfile.TemporaryDirectory() as name:
        kinds: dict[str, Callable[..., Tried]] = {
            "tables": tables,
            "case_tables": case_tables,
            "scores": scores,
            "settings": settings_files,
            "checkpoints": checkpoints,
        }
        found = [kind(count, seed_) for one, kind in kinds.items() if asked in ("", one)]
        if asked in ("", "json", "requests"):
            predictor, model = make_model(Path(name))
            if asked != "requests":
                found.append(json_files(count, seed_, predictor))
            if asked != "json":
                found.append(requests(count, seed_, model))
        return found


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="one kind, such as tables")
    asked = parser.parse_args()
    found = attack(asked.count, asked.seed, asked.only)
    return record("inputs", found, asked.seed)


if __name__ == "__main__":
    sys.exit(main())
