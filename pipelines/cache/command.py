"""The command losa-cache."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer

from losa.cache_format import Cache, CacheError
from losa.cache_format import repair as repair_cache
from losa.cache_format import verify as verify_cache
from losa.cache_format.codecs import CodecName
from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import counted
from losa.cache_format.manifest_schema import manifest_schema
from losa.cache_format.sites import SiteSelection
from losa.cache_format.storage.paths import cache_folder
from losa.cache_format.stores import StoreName
from losa.pipelines.cache.drop import drop_cache, drop_splits, droppable
from losa.pipelines.cache.info import describe, render
from losa.pipelines.cache.merge import merge_caches
from losa.pipelines.cache.verdict import repair_lines, verification_json, verification_lines
from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.plain_text import visible
from losa.pipelines.tool import AsJson, make_tool, run_tool

tool = make_tool(
    "Inspect, verify and repair caches of activations, merge them, and convert them to another form. "
    "A cache is a folder or a URL such as s3://bucket/folder."
)

CachePlace = Annotated[str, typer.Argument(metavar="CACHE", help="folder or URL of a cache")]
Target = Annotated[
    str, typer.Option("--to", metavar="CACHE", help="folder or URL of the cache to be written")
]


@tool.command()
def info(cache: CachePlace, as_json: AsJson = False) -> None:
    """Show what a cache is and holds: identity, splits, bytes, signal-to-noise ratio of every site."""
    description = describe(Cache(cache))
    if as_json:
        print(json.dumps(description, indent=2))
    else:
        PlainConsole(soft_wrap=True).print(render(description))


@tool.command()
def verify(cache: CachePlace, as_json: AsJson = False) -> None:
    """Read every byte of a cache and list all damage; exit code 1 if there is any."""
    with _bytes("verifying") as progress:
        found = verify_cache(cache_folder(cache), progress)
    if as_json:
        print(json.dumps(verification_json(found), indent=2))
    else:
        print(visible("\n".join(verification_lines(cache, found))))
    if not found.ok:
        raise typer.Exit(1)


@tool.command()
def repair(
    cache: CachePlace,
    prune: Annotated[
        bool, typer.Option(help="also remove segments and splits that are not in the manifest")
    ] = False,
) -> None:
    """Verify a cache and drop its damaged shards, so that losa-extract makes them again.

    Undamaged shards are not touched. Exit code 1 if there is damage left that only losa-extract can repair.
    """
    with _bytes("verifying") as progress:
        done = repair_cache(cache_folder(cache), progress, prune=prune)
    print(visible("\n".join(repair_lines(cache, done))))
    if done.not_repaired:
        raise typer.Exit(1)


@tool.command()
def merge(
    sources: Annotated[list[str], typer.Argument(metavar="CACHE...", help="caches with the same identity")],
    to: Target,
) -> None:
    """Merge caches that hold different splits, or different shards of the same splits.

    Shards are copied unchanged, and verified on the way. Shards at the destination are kept, so the same
    command resumes after an interruption.
    """
    with _shards("merging") as progress:
        done = merge_caches([Cache(source) for source in sources], cache_folder(to), progress)
    print(visible(f"{to}: {counted(done.copied, 'shard', 'shards')} copied{_missing(done.missing)}"))


@tool.command()
def convert(
    cache: CachePlace,
    to: Target,
    store: Annotated[StoreName | None, typer.Option(help="other store")] = None,
    codec: Annotated[CodecName | None, typer.Option(help="other codec")] = None,
    compressor: Annotated[
        Literal[CompressorName, "none"] | None,
        typer.Option(help="other compressor; none removes it"),
    ] = None,
    sites: Annotated[
        str | None, typer.Option(help="fewer sites: a number (evenly spaced), or names separated by commas")
    ] = None,
) -> None:
    """Write a copy of a cache in another store, with another codec or compressor, or with fewer sites.

    With the same codec, codes are copied bit by bit. With another codec they are decoded and encoded again;
    the errors of both codecs add up, and `info` shows the sum. The same command resumes after an
    interruption.
    """
    from losa.pipelines.cache.convert import Conversion  # imports torch, which other commands do not need

    conversion = Conversion(
        store=store,
        codec=codec,
        compressor=None if compressor == "none" else compressor,
        uncompressed=compressor == "none",
        sites=None if sites is None else _sites(sites),
    )
    with _shards("converting") as progress:
        done = conversion.run(Cache(cache), cache_folder(to), progress)
    print(visible(f"{to}: {counted(done.written, 'shard', 'shards')} written{_missing(done.missing)}"))


@tool.command()
def drop(
    cache: CachePlace,
    splits: Annotated[list[str] | None, typer.Argument(metavar="[SPLIT]...", help="splits to drop")] = None,
    everything: Annotated[bool, typer.Option("--all", help="the whole cache")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Remove splits and the images that no other split has, or a whole cache."""
    folder = cache_folder(cache)
    if bool(splits) == everything:
        raise CacheError("name the splits to drop, or --all for the whole cache")
    if everything:
        opened = Cache(folder)
        images = sum(segment.images for segment in opened.manifest.segments)
        _ask(yes, f"remove {folder} with its {counted(images, 'image', 'images')}?")
        drop_cache(folder)
        print(visible(f"{folder} is removed"))
        return
    assert splits is not None, "splits were named"
    _, segments = droppable(folder, splits)
    gone = ", ".join(segments) or "none"
    _ask(yes, f"drop {', '.join(splits)} from {folder}? Segments whose images go with it: {gone}")
    drop_splits(folder, splits)
    print(visible(f"{folder}: {', '.join(splits)} dropped; segments removed: {gone}"))


@tool.command()
def schema() -> None:
    """Print the JSON schema of manifest.json."""
    print(json.dumps(manifest_schema(), indent=2))


def main() -> None:
    """Entry point."""
    run_tool(tool)


def _sites(text: str) -> SiteSelection:
    return [int(part) if part.isdigit() else part for part in text.split(",")]


def _missing(shards: int) -> str:
    if not shards:
        return ""
    told = counted(shards, "is", "are")
    return f"; {told} missing there: the losa-extract command that made the source can make them"


def _ask(yes: bool, question: str) -> None:
    if yes:
        return
    try:
        typer.confirm(visible(question), abort=True)
    except RuntimeError:  # standard input is closed
        raise CacheError("nobody can answer the question: --yes goes on without it") from None


@contextmanager
def _bytes(description: str) -> Iterator[Callable[[int, int], None]]:
    with _progress(description, "B", unit_scale=True) as progress:
        yield progress


@contextmanager
def _shards(description: str) -> Iterator[Callable[[int, int], None]]:
    with _progress(description, "shards") as progress:
        yield progress


@contextmanager
def _progress(
    description: str, unit: str, *, unit_scale: bool = False
) -> Iterator[Callable[[int, int], None]]:
    bar = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = progress_bar(total, description, unit, leave=False, unit_scale=unit_scale)
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()
