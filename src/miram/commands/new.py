"""`miram new`: the folder of a study of one's own, from the installed package."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from miram.commands.options import AsJson
from miram.errors import MiramError, writing

# In the checkout these are links to `conf` and `notebooks`; the wheel holds what they point to.
_PROJECT = Path(__file__).parents[1] / "project"
_PYPROJECT = """[tool.kedro]
package_name = "miram"
project_name = {name}
kedro_init_version = "{kedro}"
source_dir = "."
"""
_README = """# {name}

A study with miram {miram}. Run everything in this folder.

| command | what it does |
|---|---|
| `kedro run --env test` | a tiny study on synthetic mammograms, to see that all works |
| `kedro run` | the study of `conf/base` |
| `miram report --open` | its report |

Settings are in `conf/base`; `conf/paper` has those of the paper, `conf/local` is yours. Data and
results go to `data`. `notebooks` show how to look at them and how to bring your own lesions.
"""


def new(
    folder: Annotated[Path, typer.Argument(help="folder to make")],
    as_json: AsJson = False,
) -> None:
    """Make the folder of a study: settings, notebooks and a page, no code.

    Example: miram new study
    """
    make_study(folder)
    done = f"{folder}: ready; next: cd {folder} && kedro run --env test"
    typer.echo(json.dumps({"folder": str(folder.resolve())}) if as_json else done)


def make_study(folder: Path) -> None:
    """Write the files of a study.

    Raises:
        MiramError: The folder holds something already, or it cannot be written.
    """
    with writing(folder):
        if folder.exists() and any(folder.iterdir()):
            raise MiramError(f"{folder} holds something already: name a folder that is new")
        # `conf/local` is of whoever works in the checkout.
        kept = shutil.ignore_patterns("local", ".*")
        shutil.copytree(_PROJECT, folder, ignore=kept, dirs_exist_ok=True)
        (folder / "conf" / "local").mkdir()
        name = folder.resolve().name
        project = _PYPROJECT.format(name=json.dumps(name), kedro=version("kedro"))
        page = _README.format(name=name, miram=version("miram"))
        for file, text in {
            "pyproject.toml": project,
            "README.md": page,
            ".gitignore": "data/\nconf/local/\n",
            ".telemetry": "consent: false  # Kedro's\n",
        }.items():
            (folder / file).write_text(text, encoding="utf-8")
