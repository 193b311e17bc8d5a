"""Conversion of a cache to another store, codec or compressor, or to fewer sites."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from losa.cache_format import (
    Cache,
    CacheWriter,
    Calibration,
    LosaError,
    Segment,
    SiteStatistics,
)
from losa.cache_format.codecs import CodecName, needs_calibration
from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.copies import CacheContents
from losa.cache_format.metadata.constants import CENTRE, SPREAD, calibration_constants, calibration_of
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.shard_writer import ShardWriter
from losa.cache_format.sites import SiteSelection
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.stores import StoreName
from losa.extract.calibration import calibrate_from, sample_keys
from losa.extract.encoding import encode
from losa.pipelines.cache.destination import refuse_entangled
from losa.pipelines.cache.shards import BATCH, committed, row_reader, shard_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The result of a conversion."""

    written: int
    """Number of shards written by this run."""
    missing: int
    """Number of shards that the source does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The properties in which the copy differs from the source; None leaves a property unchanged."""

    store: StoreName | None = None
    codec: CodecName | None = None
    compressor: CompressorName | None = None
    uncompressed: bool = False
    """Whether to remove the compressor."""
    sites: SiteSelection | None = None

    def run(self, source: Cache, destination: CachePath, progress: Callable[[int, int], None]) -> Converted:
        """Write the copy. Shards written by an interrupted run are kept.

        With the same codec, codes are copied bit by bit. Otherwise they are decoded and encoded again. From
        a float32 cache this yields the codes that extraction with the new codec yields on this machine.

        Args:
            source: the cache to convert.
            destination: folder of the copy.
            progress: called with the number of shards done, and the number of all shards.

        Raises:
            CacheError: the destination is not apart from the source.
            IdentityMismatch: the destination is another cache.
            NonFiniteActivations: values do not fit the new codec.
            CorruptCache: the source is damaged.
        """
        refuse_entangled(destination, [source])
        contents = self._contents(source)
        sites = contents.manifest.features.group.sites
        same = contents.manifest.features.codec == source.manifest.features.codec
        write = _copying(source, sites) if same else _recoding(source, contents, sites)
        with CacheWriter(destination, contents) as writer:
            missing = writer.missing()
            records = {segment.name: committed(source, segment) for segment in source.manifest.segments}
            todo = [(segment, shard) for segment, shard in missing if shard in records[segment.name]]
            for done, (segment, shard) in enumerate(todo):
                progress(done, len(todo))
                with writer.shard(segment, shard) as out:
                    write(out, segment, records[segment.name][shard])
            progress(len(todo), len(todo))
        return Converted(written=len(todo), missing=len(missing) - len(todo))

    def _contents(self, source: Cache) -> CacheContents:
        manifest = source.manifest
        features = manifest.features
        sites = source.sites if self.sites is None else features.select(self.sites)
        codec = features.codec if self.codec is None else self.codec
        constants = {name: array for name, array in source.constants.items() if name not in (CENTRE, SPREAD)}
        if codec == features.codec:
            calibration = source.calibration(sites)
        else:
            calibration = _calibrate(source, sites) if needs_calibration(codec) else None
        constants |= calibration_constants(calibration)
        changed = replace(
            features,
            site_groups=(replace(features.group, sites=sites),),
            codec=codec,
            constants={name: hash_array(array) for name, array in constants.items()},
        )
        compressor = manifest.compressor if self.compressor is None else self.compressor
        provenance = dict(manifest.provenance)
        if codec != features.codec:
            provenance["converted_from"] = features.codec
        contents = CacheContents.of(source)
        return replace(
            contents,
            manifest=replace(
                manifest,
                features=changed,
                store=manifest.store if self.store is None else self.store,
                compressor=None if self.uncompressed else compressor,
                provenance=provenance,
            ),
            constants=constants,
        )


_Write = Callable[[ShardWriter, Segment, Commit], None]
"""Function that fills a shard, given the segment and the commit record in the source."""


def _copying(source: Cache, sites: tuple[str, ...]) -> _Write:
    """A function that copies codes unchanged."""

    def write(out: ShardWriter, segment: Segment, commit: Commit) -> None:
        statistics = _of_sites(source, commit, sites)
        for codes, outcomes in shard_batches(source, segment, commit, sites):
            out.append(codes, outcomes, statistics)
            statistics = []  # added once, because they are those of the whole shard

    return write


def _recoding(source: Cache, contents: CacheContents, sites: tuple[str, ...]) -> _Write:
    """A function that decodes codes and encodes them with another codec."""
    old = DeviceCodec(source.manifest.features.codec, source.calibration(sites))
    group = contents.manifest.features.group
    nothing = torch.empty(0, len(sites), group.tokens.count, group.width)
    new = DeviceCodec(contents.manifest.features.codec, calibration_of(contents.constants))

    def write(out: ShardWriter, segment: Segment, commit: Commit) -> None:
        errors = np.zeros(len(sites))
        for codes, outcomes in shard_batches(source, segment, commit, sites):
            recoded, measured = encode(new, old.decode(old.to_device(codes)), sites)
            out.append(recoded, outcomes, [])
            errors += [site.error_sum_squares for site in measured] or 0.0
        # Errors relative to the backbone's activations: those of both codecs are independent and add up.
        statistics = [
            replace(site, error_sum_squares=site.error_sum_squares + float(error))
            for site, error in zip(_of_sites(source, commit, sites), errors, strict=True)
        ]
        out.append(new.encode(nothing).to_host(), [], statistics)

    return write


def _of_sites(source: Cache, commit: Commit, sites: tuple[str, ...]) -> list[SiteStatistics]:
    return [commit.statistics[source.sites.index(site)] for site in sites]


def _calibrate(source: Cache, sites: tuple[str, ...]) -> Calibration:
    """Calibrate on the same sample of images as extraction does.

    Raises:
        LosaError: images of the sample are not extracted yet.
    """
    places = {
        key: (segment, row)
        for segment in source.manifest.segments
        for row, key in enumerate(read_keys(source.metadata, segment))
    }
    keys = [key for record in source.manifest.splits for key in source.keys(record.name)]
    sample = sample_keys(keys)
    codec = DeviceCodec(source.manifest.features.codec, source.calibration(sites))

    def activations() -> Iterator[torch.Tensor]:
        for segment in source.manifest.segments:
            rows = [places[key][1] for key in sample if places[key][0] is segment]
            if not rows:
                continue
            records = committed(source, segment)
            if any(row // segment.rows_per_shard not in records for row in rows):
                raise LosaError(
                    f"{source.path}: the codec is calibrated on {len(sample)} images spread over all splits, "
                    "and some of them are not extracted yet: finish the extraction first"
                )
            valid = [row for row in rows if _valid(segment, records, row)]
            read = row_reader(source, segment, valid, sites)
            for start in range(0, len(valid), BATCH):
                yield codec.decode(codec.to_device(read(valid[start : start + BATCH])))

    return calibrate_from(activations(), sites)


def _valid(segment: Segment, records: dict[int, Commit], row: int) -> bool:
    shard, position = divmod(row, segment.rows_per_shard)
    return records[shard].images.valid(position)
