"""Run the project as `python -m miram`."""

from pathlib import Path

from kedro.framework.cli.cli import KedroCLI


def main() -> None:
    """Enter Kedro's command line with this project's commands."""
    KedroCLI(project_path=Path.cwd())()


if __name__ == "__main__":
    main()
