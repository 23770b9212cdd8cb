"""Build Kedro-Viz as a static site: `python -m miram.integrations.viz.site`.

`kedro viz build` fills the folder `build` itself, ends with exit code 0 where it failed, leaves out
an answer that its page asks for, and writes folders of the machine and addresses of fonts. This
makes one folder that any web server can serve and that loads nothing from elsewhere.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import fsspec
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

import miram
from miram.errors import MiramError
from miram.integrations.viz.boxes import datasets_in_boxes
from miram.reporting.facts.words import counted, listed

SITE = "build/viz"
_LINK_ELSEWHERE = re.compile(r"<link\b[^>]*https?://[^>]*>\s*")


def main() -> None:
    """Build the site of the project in the working directory.

    Raises:
        SystemExit: There can be none; the reason is one message.
    """
    try:
        folder = build(Path.cwd())
    except MiramError as error:
        sys.stderr.write(f"miram: {error}\n")
        raise SystemExit(1) from None
    print(f"site: {folder}/index.html; a browser needs it from a web server:")
    print(f"  python -m http.server --bind 127.0.0.1 --directory {folder}")


def build(project: Path) -> Path:
    """Write the site of a finished study on the phantom.

    Args:
        project: Folder of the Kedro project. It has to be the working directory: Kedro-Viz reads
            the status of the last run from there.

    Returns:
        The folder of the site, relative to the project.

    Raises:
        MiramError: There is no finished study, or it is not of the phantom.
    """
    package = bootstrap_project(project).package_name
    context = KedroSession.create(project).load_context()
    check(context)
    folder = project / SITE
    shutil.rmtree(folder, ignore_errors=True)
    _save_answers(project, package, folder)
    left = tables_of_others(folder / "api/nodes", context.catalog.load("lesions")["lesion_id"])
    if left:
        shutil.rmtree(folder)
        raise MiramError(
            f"{listed(left)}: previews of lesions that are not of this study, left by an earlier "
            "one; run `make demo` in a fresh data folder"
        )
    _copy_pages(folder)
    for path in (folder / "api").rglob("*"):
        if path.is_file():
            path.write_text(_without_folders(path.read_text(encoding="utf-8"), project), "utf-8")
    _tidy_graphs(folder / "api")
    return Path(SITE)


def check(context: KedroContext) -> None:
    """Refuse what cannot or should not become a site.

    Raises:
        MiramError: There is no finished study, or it is not of the phantom.
    """
    source = context.params["source"]
    if source != "phantom":
        raise MiramError(
            f"the study is of {source}: previews hold its pixels and identifiers, and a site is "
            "made to be passed on; build one of the phantom, or look at this one with `make ui`"
        )
    if not all(map(context.catalog.exists, ("report", "lesions", "crops"))):
        raise MiramError("there is no finished study to show: run `make demo` first")
    folder = _phantom_folder(context)
    lesions = context.catalog.load("lesions")
    strange = not_below(folder, lesions["image_path"])
    # The parameter tells of the next run; what would be shown is what the last ones left.
    if strange:
        raise MiramError(
            f"{counted(len(strange), 'image')} of the lesion table, such as {strange[0]}, "
            f"{'is' if len(strange) == 1 else 'are'} not below {folder}: the study is not of the "
            "phantom, and a site is made to be passed on; run `make demo` in a fresh data folder, "
            "or look at this study with `make ui`"
        )
    if not set(context.catalog.load("crops").manifest["image_id"]) <= set(lesions["image_id"]):
        raise MiramError(
            "the crops are of other images than the lesion table, left by an earlier study: run "
            "`make demo` in a fresh data folder"
        )


def tables_of_others(nodes: Path, lesions: Iterable[str]) -> list[str]:
    """Files in the data folder whose preview names lesions that the study does not have.

    Args:
        nodes: Folder of Kedro-Viz's answers, one per node.
        lesions: Names of the study's lesions.
    """
    known, found = set(lesions), set()
    for path in nodes.iterdir():
        node = json.loads(path.read_text(encoding="utf-8"))
        table = node.get("preview")
        # The audit, which has no patients, names lesions that were left out as well.
        if isinstance(table, dict) and {"lesion_id", "patient_id"} <= set(table.get("columns", ())):
            place = table["columns"].index("lesion_id")
            if {row[place] for row in table["data"]} - known:
                found.add(Path(node.get("filepath") or path).name)
    return sorted(found)


def not_below(folder: Path, paths: Iterable[str]) -> list[str]:
    """The paths of which there is no file below a folder.

    Args:
        folder: The folder.
        paths: Relative to it; absolute ones, and such that lead out of it, are never below.
    """
    root = folder.resolve()
    found = [(path, (root / path).resolve()) for path in dict.fromkeys(paths)]
    return [path for path, file in found if not (file.is_file() and file.is_relative_to(root))]


def _phantom_folder(context: KedroContext) -> Path:
    """Where the phantom of the project's data lies, whatever `raw_root` says."""
    data_root = context.params.get("data_root", context.config_loader["globals"]["data_root"])
    return Path(context.project_path, data_root, "01_raw", "phantom")


def _save_answers(project: Path, package: str, folder: Path) -> None:
    """Write all that the page may ask a server for."""
    from kedro_viz import __version__
    from kedro_viz.api.rest.responses.metadata import MetadataAPIResponse
    from kedro_viz.api.rest.responses.save_responses import save_api_responses_to_fs
    from kedro_viz.api.rest.responses.utils import get_encoded_response
    from kedro_viz.api.rest.utils import get_package_compatibilities
    from kedro_viz.server import load_and_populate_data

    load_and_populate_data(project, package_name=package)
    save_api_responses_to_fs(str(folder), fsspec.filesystem("file"), is_all_previews_enabled=True)
    facts = MetadataAPIResponse(package_compatibilities=get_package_compatibilities())
    (folder / "api/metadata").write_bytes(get_encoded_response(facts))
    # By this one the page knows that it is a static site.
    note = {"timestamp": f"{datetime.now(UTC):%d.%m.%Y %H:%M:%S}", "version": __version__}
    (folder / "api/deploy-viz-metadata").write_text(json.dumps(note), encoding="utf-8")


def _copy_pages(folder: Path) -> None:
    import kedro_viz

    shutil.copytree(Path(kedro_viz.__file__).parent / "html", folder, dirs_exist_ok=True)
    index = folder / "index.html"
    text = _LINK_ELSEWHERE.sub("", index.read_text(encoding="utf-8"))
    index.write_text(text, encoding="utf-8")


def _without_folders(text: str, project: Path) -> str:
    """Take the folders of this machine off the paths."""
    # Kedro-Viz tells data from the root, and code from the folder above the project.
    code = Path(miram.__file__).parents[2]
    for folder in (project, code):
        text = text.replace(f"{folder}/", "")
    return text.replace(f'"{project.name}/src/', '"src/')


def _tidy_graphs(api: Path) -> None:
    main = json.loads((api / "main").read_text(encoding="utf-8"))
    order = main["layers"]
    for path in (api / "main", *(api / "pipelines").iterdir()):
        graph = datasets_in_boxes(json.loads(path.read_text(encoding="utf-8")))
        # Kedro-Viz orders layers by the datasets that connect them; a part connects few.
        layers = layers_in_order(graph["layers"], order)
        path.write_text(json.dumps({**graph, "layers": layers}), encoding="utf-8")


def layers_in_order(layers: Iterable[str], order: Iterable[str]) -> list[str]:
    """Sort the layers of a part as in the whole study; those that it lacks come last, as they are.

    Args:
        layers: Of a part, such as fine-tuning, which the whole study may leave out.
        order: Layers of the whole study.
    """
    places = {layer: place for place, layer in enumerate(order)}
    return sorted(layers, key=lambda layer: places.get(layer, len(places)))


if __name__ == "__main__":
    main()
