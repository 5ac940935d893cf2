"""`python -m exporter`: the export commands. TensorFlow is imported only once there is something to export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from exporter import runtime
from exporter.errors import ExportError
from exporter.versions import complete_versions

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Models = Annotated[Path, typer.Option(help="The folder that the model server serves from.")]


@app.callback()
def _exporter() -> None:
    """Turn a trained Keras detector into a versioned model that describes itself."""


@app.command()
def demo(
    *,
    models: Models = Path("models"),
    name: Annotated[str, typer.Option(help="The name that the model is served by.")] = "default",
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing where a version exists.")] = False,
) -> None:
    """Export the default model: NanoDet-g, trained on COCO."""
    model = models / name
    if if_missing and (versions := complete_versions(model)):
        typer.echo(versions[max(versions)])
        return
    runtime.prepare()
    from exporter.demo import export_demo  # noqa: PLC0415 - it imports TensorFlow, which takes seconds

    typer.echo(export_demo(model))


def main() -> None:
    """Run a command; an error that is the user's to mend is one line and exit status 2."""
    try:
        app()
    except ExportError as error:
        sys.exit(_complain(str(error)))


def _complain(text: str) -> int:
    typer.echo(f"Error: {' '.join(text.split())}", err=True)
    return 2


if __name__ == "__main__":
    main()
