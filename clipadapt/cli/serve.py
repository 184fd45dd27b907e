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
    from clipadapt.service.collection import Collection
    from clipadapt.service.opening import Opener, Place
    from clipadapt.service.schema import Arm
    from clipadapt.service.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@options.with_catalogue
def command(
    place: Annotated[
        str, typer.Argument(metavar="INDEX|RELEASE|RUN", help="Folder of what is served, or milvus:URI/COLLECTION.")
    ],
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
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="Another INDEX, RELEASE or RUN, for a share of users.")
    ] = None,
    flag: Annotated[Path | None, typer.Option("--flag", help="FLAG.yaml: which share, split or shadow.")] = None,
    log: Annotated[Path | None, typer.Option("--log", help="Folder of the event log.")] = None,
    log_queries: Annotated[bool, typer.Option("--log-queries", help="The event log keeps what was asked.")] = False,
    thresholds: Annotated[
        Path | None, typer.Option("--thresholds", help="For /tags: what clipadapt tag fitted; default: the release's.")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option("--prompts", help="Words that the thresholds were fitted with.")
    ] = None,
    rate: Annotated[str | None, typer.Option("--rate", help="Most requests of one client, such as 20/second.")] = None,
    limits: Annotated[
        Path | None, typer.Option("--limits", help="LIMITS.yaml: bytes, pixels, threads, waiting, seconds, ...")
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option("--allowed-host", help="Name the service may be addressed by; repeatable.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Processes; each loads the model and counts --rate itself.")
    ] = 1,
    check: Annotated[bool, typer.Option("--check", help="Load, say what would be served, and stop.")] = False,
    gather_ms: Annotated[float, typer.Option("--gather-ms", min=0, help="How long a batch waits for more.")] = 3.0,
) -> None:
    """Serve a visual search over HTTP."""
    import importlib.util

    from clipadapt.errors import UsageError

    missing = [name for name in ("fastapi", "uvicorn", "python_multipart") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} not installed; pip install 'clipadapt[service]'")
    settings = _settings(host, token_file, open_to_all, cors, gather_ms, rate, allowed_host, limits)
    from clipadapt.search.milvus.address import Address
    from clipadapt.search.opening import located
    from clipadapt.service.opening import Opener, find
    from clipadapt.service.server import open_port, serve
    from clipadapt.service.serving import Serving
    from clipadapt.service.traffic import Traffic
    from clipadapt.service.workers import Worker, run_workers

    if flag is not None and candidate is None:
        raise UsageError(f"--flag {flag}: sends users to a candidate; name it with --candidate")
    served, other = find(place), find(candidate) if candidate is not None else None
    worker = Worker.inherited()
    address = located(served.index)
    if workers > 1 and isinstance(address, Address) and address.lite:
        raise UsageError(f"{place}: one process at a time opens a file of milvus-lite; leave out --workers {workers}")
    if workers > 1 and worker is None and not check:
        raise typer.Exit(run_workers(workers, open_port(host, port)))
    serving = Serving(settings, _name(place), traffic=Traffic.open(flag, log, keep_queries=log_queries))
    opener = Opener(serving, catalogue, split, thresholds, prompts)

    def load() -> None:
        if other is not None:
            _load(opener, candidate or "", other, "candidate", None)
        collection = _load(opener, place, served, "current", model)
        index = collection.index
        if worker is not None:
            worker.wait()
        typer.echo(
            f"ready: {len(index)} items of {collection.name}, {index.meta.factory}, encoder {collection.runtime}",
            err=not check,
        )
        for fault in serving.faults:
            typer.echo(fault, err=True)

    if check:
        load()
        serving.close()
    elif worker is None:
        serve(serving, load, open_port(host, port))
    else:
        serve(serving, load, worker.listening, at_once=worker.answers_at_once)


def _load(opener: "Opener", named: str, place: "Place", arm: "Arm", model: str | None) -> "Collection":
    """Serves what was named from now on, and what becomes of it: another promoted release, a changed index."""
    from clipadapt.service.following import Follower, IndexFollower
    from clipadapt.service.opening import find, folder_of, is_releases

    if not is_releases(folder_of(named)):
        collection = opener.open(place, model=model)
        opener.serving.replace(collection, arm)
        IndexFollower(opener.serving, lambda one: opener.renewed(one, place, model=model), arm).start()
        return collection
    root = folder_of(named)

    def renew(collection: "Collection") -> "Collection | None":
        return opener.renewed(collection, lambda: find(str(root / "versions" / collection.name)), model=model)

    follower = Follower(
        opener.serving, root, lambda release: opener.open(find(str(release)), model=model), arm, renew=renew
    )
    collection = follower.load()
    follower.start()
    return collection


def _name(place: str) -> str:
    from clipadapt.service.opening import folder_of

    return folder_of(place).resolve().name


def _settings(
    host: str,
    token_file: Path | None,
    open_to_all: bool,
    cors: list[str] | None,
    gather_ms: float,
    rate: str | None,
    allowed_host: list[str] | None,
    limits: Path | None,
) -> "Settings":
    from clipadapt.errors import UsageError
    from clipadapt.service.settings import Limits, Settings

    token = _token(token_file)
    if host not in _LOOPBACK and token is None and not open_to_all:
        raise UsageError(
            f"--host {host}: others could ask too; give a token with --token-file (or CLIPADAPT_TOKEN), or say --open"
        )
    if rate is not None:
        from clipadapt.service.rates import Rates

        Rates(rate)
    local = ("127.0.0.1", "localhost", "[::1]") if host in _LOOPBACK else ()
    hosts = (*local, *(name.lower() for name in allowed_host)) if allowed_host else local
    return Settings(
        Limits() if limits is None else Limits.load(limits), token=None if open_to_all else token,
        cors=tuple(cors or ()), gather_ms=gather_ms, rate=rate, hosts=hosts,
    )  # fmt: skip


def _token(file: Path | None) -> str | None:
    import os

    from clipadapt.errors import UsageError

    try:
        token = os.environ.get("CLIPADAPT_TOKEN", "") if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {file}: cannot be read ({error}); check the path") from error
    if not token and file is None:
        return None
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        place = f"--token-file {file}" if file is not None else "CLIPADAPT_TOKEN"
        raise UsageError(f"{place}: a token is one line of 16 or more letters, digits and signs")
    return token
