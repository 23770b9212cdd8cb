"""A predictor as one MLflow model that runs without this package.

One model has both flavors: `mlflow.pytorch.load_model` gives the encoder, crops in and features
out, as a `torch.export` graph; `mlflow.pyfunc.load_model` and `mlflow models serve` give features
and probabilities. So there is one version number and one alias for both, and an encoder can
never be served beside the probe of another. No part of it is a pickle.
"""

import json
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array, Map

from miram.evaluation.features.crop_encoder import CropEncoder, example_crops, export_graph
from miram.serving.predictor import ENCODER, PROBE, RESEARCH_USE_ONLY, SETTINGS, Predictor

GRAPH = "model.pt2"  # the name that MLflow looks for
ARTIFACT = "predictor"
CARD = "README.md"
_CODE = Path(__file__).with_name("served_model.py")
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "torch")


def save_model(path: str | Path, predictor: Predictor, mlflow_model: Model) -> None:
    """Write a predictor, which needs a probe, as an MLflow model, and its flavors into the entry.

    Raises:
        MiramError: The exported graph gives other features than the encoder.
    """
    with TemporaryDirectory() as name:
        folder = Path(name) / ARTIFACT
        predictor.save(folder)
        encoder = CropEncoder(predictor.encoder, predictor.features).eval()
        export_graph(encoder, predictor.crops.image_size, predictor.mask_cells, folder / GRAPH)
        (folder / CARD).write_text(card(predictor), encoding="utf-8")
        mlflow.pyfunc.save_model(
            path,
            python_model=str(_CODE),
            artifacts={ARTIFACT: str(folder)},
            signature=signature(),
            input_example=input_example(predictor),
            pip_requirements=requirements(),
            metadata={"notice": RESEARCH_USE_ONLY, **predictor.about},
            mlflow_model=mlflow_model,
        )
    served = mlflow_model.flavors["python_function"]
    # Paths of this machine help nobody: MLflow looks for the file's name beside the entry.
    served["model_code_path"] = _CODE.name
    served["artifacts"][ARTIFACT].pop("uri")
    mlflow_model.add_flavor(
        "pytorch",
        model_data=f"artifacts/{ARTIFACT}",
        pytorch_version=str(torch.__version__),
        code=None,
    )
    mlflow_model.save(str(Path(path) / "MLmodel"))


def requirements() -> list[str]:
    """What a server needs for crops as arrays, pinned: a graph belongs to its torch."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in _REQUIREMENTS]


def signature() -> ModelSignature:
    """What goes in and out, row by row."""
    square = Array(Array(DataType.long))
    inputs: list[Any] = [
        # One request may mix crops and files, so any of these may be absent in a row. MLflow
        # would refuse that for a typed column; the model checks them itself.
        *(ColSpec(AnyType(), name, required=False) for name in ("image", "mask", "box", "bits")),
        ColSpec(DataType.string, "dicom", required=False),
    ]
    outputs: list[Any] = [
        ColSpec(Map(DataType.double), "probabilities"),
        ColSpec(Array(DataType.double), "features"),
        ColSpec(DataType.string, "kind"),
        ColSpec(DataType.long, "patches"),
        ColSpec(square, "squares"),
        ColSpec(Array(DataType.string), "notes"),
        ColSpec(DataType.string, "notice"),
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def input_example(predictor: Predictor) -> pd.DataFrame:
    """Two crops of nobody: noise."""
    images, _ = example_crops(predictor.crops.image_size, predictor.mask_cells)
    return pd.DataFrame({"image": [image.mul(255).round().div(255).tolist() for image in images]})


def card(predictor: Predictor) -> str:
    """The page inside the model: what it is, what goes in and out, what it is not."""
    assert predictor.probe is not None
    probe, size = predictor.probe, predictor.crops.image_size
    masks = ", images, coverage (B, h, h) uint8" if predictor.features.reads_masks else ""
    about = {**predictor.about, "digest": predictor.digest()}
    raw = "raw and processed" if predictor.wanted.for_processing else "processed"
    kinds = f"{raw} images of modality {' or '.join(predictor.wanted.modalities)}"
    return f"""# {predictor.about.get("method", "Encoder")} with a linear probe

**{RESEARCH_USE_ONLY}** It was not evaluated for screening or diagnosis. Its probabilities rank
marked lesions; they do not say whether there is a lesion.

Task: {probe.task}, classes {", ".join(probe.classes)}. The probe was fitted on
{probe.classifier.lesions} lesions of {probe.classifier.patients} patients.

- `image`: a lesion crop of {size} x {size} grey levels in [0, 1], or whole ones with `bits`,
  such as 8 or 16.
- `dicom`: a mammogram in base64, with `box` [x0, y0, x1, y1] for its lesion; without a box the
  answer is the mean over {predictor.crops.backgrounds_per_image} patches of breast tissue, which
  the probe was not trained on. DICOM files need the package miram beside the server; it
  reads {kinds}, and refuses others.

`mlflow.pytorch.load_model` gives the encoder: (B, {size}, {size}){masks} -> (B, D) features.

| file | what |
|---|---|
| `{GRAPH}` | crops to features as a `torch.export` graph |
| `{ENCODER}` | the same weights for timm, whatever the version of torch |
| `{PROBE}` | `mean`, `std`, `coef`, `intercept`, `classes` as plain arrays |
| `{SETTINGS}` | how crops are cut and tokens pooled |

```json
{json.dumps(about, indent=2)}
```
"""
