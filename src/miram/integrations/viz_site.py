"""Build Kedro-Viz as a static site: `python -m miram.integrations.viz_site`.

`kedro viz build` fills the folder `build` itself, ends with exit code 0 where it failed, leaves out
an answer that its page asks for, and writes folders of the machine and addresses of fonts. This
makes one folder that any web server can serve and that loads nothing from elsewhere.
"""

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import fsspec
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

import miram
from miram.errors import MiramError
from miram.integrations.viz_boxes import datasets_in_boxes

SITE = "build/viz"
_LINK_ELSEWHERE = re.compile(r"<link\b[^>]*https?://[^>]*>\s*")


def main() -> None:
    """Build the site of the project in the working directory."""
    folder = build(Path.cwd())
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
    check(KedroSession.create(project).load_context())
    folder = project / SITE
    shutil.rmtree(folder, ignore_errors=True)
    _save_answers(project, package, folder)
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
    if not context.catalog.exists("report"):
        raise MiramError("there is no finished study to show: run `make demo` first")


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
    for path in (api / "main", *(api / "pipelines").iterdir()):
        graph = datasets_in_boxes(json.loads(path.read_text(encoding="utf-8")))
        # Kedro-Viz orders layers by the datasets that connect them; a part connects few.
        layers = sorted(graph["layers"], key=main["layers"].index)
        path.write_text(json.dumps({**graph, "layers": layers}), encoding="utf-8")


if __name__ == "__main__":
    main()
