"""Encodes activations on the compute device, with statistics of every site, and refuses non-finite values."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from losa.cache_format.codecs import CodecName, Codes
from losa.cache_format.codecs.torch_codecs import DeviceCodec, DeviceCodes, images_at_once
from losa.cache_format.shards.statistics import SiteStatistics
from losa.extract.host_copies import HostCopies, HostCopy
from losa.extract.non_finite import refuse_non_finite, refuse_overflow


def encode(
    codec: DeviceCodec, activations: Float[Tensor, "images sites tokens width"], sites: Sequence[str]
) -> tuple[Codes, list[SiteStatistics]]:
    """Encode a batch.

    Returns:
        The codes, on the host, and the statistics of every site, which are empty for a batch without images.

    Raises:
        NonFiniteActivations: the backbone or the codec gave NaN or infinity; the message names the site.
    """
    return Encoder(codec, sites).start(activations).finish()


@dataclass(frozen=True, slots=True)
class StartedEncoding:
    """A batch that a GPU encodes and copies to the host, perhaps after the batches before it."""

    codec: CodecName
    sites: Sequence[str]
    values_of_site: int
    """Number of values of a site in all images of the batch."""
    copy: HostCopy

    def finish(self) -> tuple[Codes, list[SiteStatistics]]:
        """Wait for the codes and the statistics; see `encode`."""
        values, measures, *scales = self.copy.wait()
        codes = DeviceCodes(values, scales[0] if scales else None).to_host()
        if not self.values_of_site:
            return codes, []
        low, high, energy, error, lost, overflown = measures.unbind()
        for index, site in enumerate(self.sites):
            refuse_non_finite(site, int(lost[:, index].sum()))
            refuse_overflow(self.codec, site, int(overflown[:, index].sum()))
        return codes, [
            SiteStatistics(
                count=self.values_of_site,
                minimum=low[:, index].min().item(),
                maximum=high[:, index].max().item(),
                sum_squares=energy[:, index].sum().item(),
                error_sum_squares=error[:, index].sum().item(),
            )
            for index in range(len(self.sites))
        ]


class Encoder:
    """Encodes batches where their activations are. On a GPU, nothing waits before the result is wanted."""

    def __init__(self, codec: DeviceCodec, sites: Sequence[str]) -> None:
        """Prepare the copies to the host.

        Args:
            codec: the codec, on the device of the activations.
            sites: names along the sites axis, for messages.
        """
        self._codec = codec
        self._sites = sites
        self._copies = HostCopies(codec.device)

    def start(self, activations: Float[Tensor, "images sites tokens width"]) -> StartedEncoding:
        """Start to encode a batch."""
        step = images_at_once(activations.shape, activations.device)
        parts = [_encode(self._codec, part.float()) for part in activations.split(step)]
        values, measures, *scales = (torch.cat(tensors, dim) for tensors, dim in _columns(parts))
        return StartedEncoding(
            codec=self._codec.name,
            sites=self._sites,
            values_of_site=activations[:, 0].numel(),
            copy=self._copies.start([values, measures, *scales]),
        )


def _columns(parts: Sequence[tuple[DeviceCodes, Tensor]]) -> list[tuple[list[Tensor], int]]:
    """The tensors of several parts by kind, and their axis of images."""
    columns = [([codes.values for codes, _ in parts], 0), ([measures for _, measures in parts], 1)]
    scales = [codes.scales for codes, _ in parts if codes.scales is not None]
    return [*columns, (scales, 0)] if scales else columns


def _encode(
    codec: DeviceCodec, activations: Float[Tensor, "images sites tokens width"]
) -> tuple[DeviceCodes, Float64[Tensor, "six images sites"]]:
    """Codes, and measures of every image and site.

    They are minimum, maximum, sum of squares and sum of squared errors, and the numbers of values that are
    not finite before encoding, and after decoding.
    """
    codes = codec.encode(activations)
    rows = activations.flatten(2)
    if not len(rows):
        return codes, rows.new_zeros(6, *rows.shape[:2], dtype=torch.float64)
    energy = _sum_squares(rows)
    lost = _count_non_finite(rows, energy)
    if codec.name == "float32":
        error, overflown = torch.zeros_like(energy), lost
    else:
        difference = codec.decode(codes).flatten(2).sub_(rows)
        error = _sum_squares(difference)
        overflown = _count_non_finite(difference, error)
    return codes, torch.stack(
        [rows.amin(-1).double(), rows.amax(-1).double(), energy, error, lost, overflown]
    )


def _count_non_finite(
    rows: Float[Tensor, "images sites values"], sum_squares: Float64[Tensor, "images sites"]
) -> Float64[Tensor, "images sites"]:
    if rows.device.type == "cpu" and sum_squares.isfinite().all():  # to ask a GPU would be to wait for it
        return torch.zeros_like(sum_squares)
    return (~rows.isfinite()).sum(-1).double()


def _sum_squares(rows: Float[Tensor, "images sites values"]) -> Float64[Tensor, "images sites"]:
    """Sums of squares in float64, from norms whose relative error is near 1e-6."""
    norms: Tensor
    if rows.device.type == "cpu":
        norms = torch.linalg.vector_norm(rows, dim=-1)
        if torch.isfinite(norms).all():
            return norms.double().square()
    # Values beyond 1e19 have squares that float32 cannot hold.
    norms = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float64)
    return norms.square()
