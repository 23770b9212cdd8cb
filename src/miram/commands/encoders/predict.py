"""`miram predict`: probabilities for a few mammograms or lesions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from miram.commands.options import AsJson, Env, RegistryRoot
from miram.errors import MiramError
from miram.files import atomic_path

if TYPE_CHECKING:
    from miram.evaluation.features.crop_encoder import CropEncoder
    from miram.serving.predictor import Predictor, ServedProbe
    from miram.serving.requests import PostedCrops


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="DICOM files, or PNG, TIFF or JPEG", metavar="IMAGE...")
    ],
    model: Annotated[
        str,
        typer.Option(help="models:/miram-<method>@champion, or the folder of a predictor"),
    ],
    box: Annotated[
        list[str] | None,
        typer.Option(help="x0,y0,x1,y1 of the lesion in pixels; once for each image, in order"),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="folder for a picture of each image: which patches spoke for the answer",
            metavar="FOLDER",
        ),
    ] = None,
    env: Env = None,
    data_root: RegistryRoot = None,
    as_json: AsJson = False,
) -> None:
    """Show the probabilities that a registered model gives for images. Research use only.

    With a box the answer is for the lesion in it. Without one it is the mean over patches of the
    breast, which the model was not trained on. The registry is that of MLFLOW_TRACKING_URI,
    else of mlflow.yml. For many images and their features: miram embed.

    Example: miram predict a.dcm --model models:/miram-mae@champion --box 610,1200,840,1460
    """
    from miram.integrations.embedding import load_model

    boxes: list[list[float] | None] = [_numbers(text) for text in box or []]
    boxes = boxes or [None] * len(images)
    if len(boxes) != len(images):
        raise MiramError(
            f"{len(images)} images and {len(boxes)} boxes: give --box once for each image, or "
            "not at all"
        )
    predictor = load_model(model, env=env, data_root=data_root)
    if predictor.probe is None:
        raise MiramError(
            f"{model} is an encoder alone, which has no probabilities: register it with its probe "
            "by kedro run --pipeline promote --params promote.method=..., or use miram embed"
        )
    rows = predict_files(predictor, images, boxes, explain)
    if as_json:
        from miram.serving.predictor import RESEARCH_USE_ONLY

        found = {"model": predictor.origin, "task": predictor.probe.task, "images": rows}
        typer.echo(json.dumps({**found, "notice": RESEARCH_USE_ONLY}))
    else:
        _print(predictor, rows)


def predict_files(
    predictor: "Predictor",
    images: Sequence[Path],
    boxes: Sequence[list[float] | None],
    pictures: Path | None = None,
) -> list[dict[str, Any]]:
    """Probabilities of images, each with a box [x0, y0, x1, y1] in pixels or None.

    Returns:
        For each image `image`, `kind` (`lesion` or `tissue`), `patches` (how many crops were
        averaged), `probabilities` by class and `notes`; with a folder of `pictures` also
        `explained`, the class that the picture is about, and `picture`, its file.
    """
    import numpy as np

    from miram.evaluation.features.crop_encoder import CropEncoder, encode_crops
    from miram.serving.requests import cut_file

    assert predictor.probe is not None
    encoder = CropEncoder(predictor.encoder, predictor.features).eval()
    rows = []
    for place, (image, box) in enumerate(zip(images, boxes, strict=True), start=1):
        try:
            cut = cut_file(image, box, predictor.crops, predictor.wanted)
        except MiramError as error:
            raise MiramError(f"{image}: {error}") from error
        features = encode_crops(encoder, cut.crops, cut.masks).mean(axis=0, keepdims=True)
        (found,) = predictor.probe.probabilities(features).tolist()
        rows.append(
            {
                "image": str(image),
                "kind": "tissue" if box is None else "lesion",
                "patches": len(cut.crops),
                "probabilities": dict(zip(predictor.probe.classes, found, strict=True)),
                "notes": cut.notes,
            }
        )
        if pictures is not None:
            path = pictures / f"{place}_{image.stem}.png"
            answer = _draw(encoder, cut, predictor.probe, int(np.argmax(found)), path)
            rows[-1] |= {"explained": answer, "picture": str(path)}
    return rows


def _draw(
    encoder: "CropEncoder", cut: "PostedCrops", probe: "ServedProbe", likeliest: int, path: Path
) -> str:
    """Write what the patches add to an answer, and tell which answer that is."""
    from miram.reporting.charts.contributions import contribution_sheet
    from miram.serving.explain import contributions

    # Of two classes the second has the only logit; else the likeliest one is explained.
    logit = 0 if probe.classifier.kind == "binary" else likeliest
    answer = probe.classes[-1 if probe.classifier.kind == "binary" else likeliest]
    patches = contributions(encoder, cut.crops, cut.masks, probe.classifier, logit)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        contribution_sheet(cut.crops, patches, answer).savefig(temporary, format="png")
    return answer


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        words = f"--box {text}: give x0,y0,x1,y1 in pixels, such as 10,20,110,140"
        raise MiramError(words) from None


def _print(predictor: "Predictor", rows: list[dict[str, Any]]) -> None:
    from miram.reporting.facts.words import number
    from miram.serving.predictor import RESEARCH_USE_ONLY

    assert predictor.probe is not None
    console = Console(highlight=False)
    title = Text(f"{predictor.probe.task} by {predictor.origin}")
    table = Table(title=title, title_justify="left")
    table.add_column("image", overflow="fold")
    table.add_column("what was scored")
    for name in predictor.probe.classes:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for row in rows:
        what = "the box" if row["kind"] == "lesion" else f"{row['patches']} patches of the breast"
        chances = [number(value) for value in row["probabilities"].values()]
        table.add_row(Text(row["image"]), what, *chances)
    console.print(table)
    for row in rows:
        for note in row["notes"]:
            console.print(f"{row['image']}: {note}", markup=False)
        if "picture" in row:
            about = f"what spoke for {row['explained']} (red) and against it (blue)"
            console.print(f"{row['picture']}: {about}", markup=False)
    if any(row["kind"] == "tissue" for row in rows):
        console.print(
            "Without --box the model answers for patches of the breast, which it was not taught to "
            "judge."
        )
    console.print(RESEARCH_USE_ONLY)
