"""clipadapt serve: an index behind HTTP, with a page to search on.

    clipadapt serve runs/quickstart                                     open http://127.0.0.1:8000
    clipadapt serve releases --source shop --port 9000                  follows what is promoted; pictures from shop
    clipadapt serve indexes/shop --host 0.0.0.0 --token-file token      others may ask, who know the token

The API is described at /openapi.json. Messages and logs go to stderr.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.service.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@options.with_catalogue
def command(
    place: Annotated[str, typer.Argument(metavar="INDEX|RELEASE|RUN", help="Folder of what is served.")],
    catalogue: options.Catalogue,
    split: options.Split = None,
    model: Annotated[str | None, typer.Option("--model", help="MODEL in place of the index's own.")] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address; any but loopback needs a token, or --open.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File whose first line is the bearer token.")
    ] = None,
    open_to_all: Annotated[bool, typer.Option("--open", help="Anyone may ask, without a token.")] = False,
    cors: Annotated[list[str] | None, typer.Option("--cors", help="Origin whose pages may ask; repeatable.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Load, say what would be served, and stop.")] = False,
    gather_ms: Annotated[float, typer.Option("--gather-ms", min=0, help="How long a batch waits for more.")] = 3.0,
) -> None:
    """Serve a visual search over HTTP."""
    import importlib.util

    from clipadapt.errors import UsageError

    missing = [name for name in ("fastapi", "uvicorn", "python_multipart") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} not installed; pip install 'clipadapt[service]'")
    settings = _settings(host, token_file, open_to_all, cors, gather_ms)
    from clipadapt.service.opening import find, open_collection
    from clipadapt.service.server import serve
    from clipadapt.service.serving import Serving

    found = find(place)
    serving = Serving(settings, found.name)

    def load() -> None:
        collection, faults = open_collection(found, settings, catalogue, split, model=model)
        serving.faults.extend(faults)
        serving.replace(collection)
        index, by = collection.index, collection.runtime
        typer.echo(f"ready: {len(index)} items of {found.name}, {index.meta.factory}, encoder {by}", err=not check)
        for fault in faults:
            typer.echo(fault, err=True)

    if check:
        load()
        serving.close()
    else:
        serve(serving, load, host=host, port=port)


def _settings(
    host: str, token_file: Path | None, open_to_all: bool, cors: list[str] | None, gather_ms: float
) -> "Settings":
    from clipadapt.errors import UsageError
    from clipadapt.service.settings import Settings

    token = _token(token_file)
    if host not in _LOOPBACK and token is None and not open_to_all:
        raise UsageError(
            f"--host {host}: others could ask too; give a token with --token-file (or CLIPADAPT_TOKEN), or say --open"
        )
    return Settings(token=None if open_to_all else token, cors=tuple(cors or ()), gather_ms=gather_ms)


def _token(file: Path | None) -> str | None:
    import os

    from clipadapt.errors import UsageError

    if file is None:
        return os.environ.get("CLIPADAPT_TOKEN") or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {file}: cannot be read ({error}); check the path") from error
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"--token-file {file}: a token is one line of 16 or more letters, digits and signs")
    return token
