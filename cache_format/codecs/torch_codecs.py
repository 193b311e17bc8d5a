"""The codecs of ``losa.cache_format.codecs`` on a torch device. Importing this module imports torch.

Operations are in place where possible: a batch of float32 activations is large, and every training step
begins by decoding one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8, Shaped, UInt8
from torch import Tensor

from losa.cache_format.codecs import Calibration, CodecName, Codes
from losa.cache_format.codecs.integer import INTEGER_FORMATS, ZERO, IntegerFormat
from losa.cache_format.common.device import to_device

_CAST_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

TILE_BYTES = 2**22
"""Bytes of activations that a CPU encodes or decodes at a time, at least an image.

They stay in its caches from one operation to the next. With less, its threads would wait for each other more
often, once in every operation, which takes many times as long where other programs run, too.
"""


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """Codes on a device, in the storage dtype, except that bfloat16 has torch's own dtype."""

    values: Shaped[Tensor, "images sites tokens stored"]
    scales: Float[Tensor, "images sites tokens groups"] | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The values, and the scales if there are any."""
        return (self.values,) if self.scales is None else (self.values, self.scales)

    def to_host(self) -> Codes:
        """The same codes as numpy arrays in the storage dtype."""
        values = self.values.cpu()
        if values.dtype == torch.bfloat16:
            values = values.view(torch.uint16)
        return Codes(values.numpy(), None if self.scales is None else self.scales.cpu().numpy())


class DeviceCodec:
    """A codec on a torch device, equal to the numpy reference."""

    def __init__(
        self, name: CodecName, calibration: Calibration | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.name = name
        self.device = torch.device(device)
        self._integer: _IntegerCodec | None = None
        if name == "int8" or name == "int4":
            # A cache without it is refused when it is opened, and extraction calibrates before it encodes.
            assert calibration is not None, f"codec {name} needs a calibration"
            self._integer = _IntegerCodec(INTEGER_FORMATS[name], calibration, self.device)

    def encode(self, activations: Float[Tensor, "images sites tokens width"]) -> DeviceCodes:
        """Encode activations on the device they are on."""
        if self._integer is None:
            return DeviceCodes(activations.to(_CAST_DTYPES[self.name]))
        return self._integer.encode(activations)

    def decode(
        self, codes: DeviceCodes, out: Float32[Tensor, "images sites tokens width"] | None = None
    ) -> Float32[Tensor, "images sites tokens width"]:
        """Decode codes to float32 on the device they are on.

        Args:
            codes: the codes.
            out: memory for the result, which is then returned. If it was used before, it causes no page
                faults, which otherwise take most of the time on a CPU. Without it, float32 codes are returned
                as they are.
        """
        if self._integer is not None:
            return self._integer.decode(codes, out)
        return codes.values.float() if out is None else out.copy_(codes.values)

    def decoded_shape(self, codes: DeviceCodes) -> tuple[int, ...]:
        """Shape of decoded codes: images, sites, tokens, width."""
        stored = tuple(codes.values.shape)
        return stored if self._integer is None else self._integer.decoded_shape(stored)

    def to_device(self, codes: Codes) -> DeviceCodes:
        """Move stored codes to the device without decoding them. Nothing waits for a copy to a GPU."""
        values = torch.from_numpy(codes.values)
        if codes.values.dtype == np.uint16:
            values = values.view(torch.bfloat16)
        scales = None if codes.scales is None else to_device(torch.from_numpy(codes.scales), self.device)
        return DeviceCodes(to_device(values, self.device), scales)


class _IntegerCodec:
    """The counterpart of `losa.cache_format.codecs.integer.IntegerCodec` on a torch device."""

    def __init__(self, form: IntegerFormat, calibration: Calibration, device: torch.device) -> None:
        self._form = form
        # Copies: arrays read from a cache are not writable, and torch warns when it shares such memory.
        self._centre = torch.tensor(calibration.centre, device=device)[:, None]
        self._spread = torch.tensor(calibration.spread, device=device)[:, None]
        self._width = calibration.centre.shape[1]
        # A tensor, because a GPU divides by a Python number through its rounded reciprocal.
        self._levels = torch.tensor(float(form.levels), device=device)

    def decoded_shape(self, stored: Sequence[int]) -> tuple[int, ...]:
        return (*stored[:-1], self._width)

    def encode(self, activations: Float[Tensor, "images sites tokens width"]) -> DeviceCodes:
        form = self._form
        z = (activations.float() - self._centre).div_(self._spread)
        largest = z.new_empty(*z.shape[:-1], form.groups(self._width))
        for channels, of_group in self._groups(z, largest):
            of_group.copy_(channels.abs().amax(dim=-1, keepdim=True))
        scales = largest.div_(self._levels).clamp_(min=form.scale_floor).to(getattr(torch, form.scale_dtype))
        for channels, of_group in self._groups(z, scales.float()):
            channels.div_(of_group)
        # The reference clips; here rounding cannot leave the range: |z| / scale <= levels (1 + 2**-11).
        codes = z.round_().to(torch.int8, memory_format=torch.contiguous_format)
        return DeviceCodes(_pack(codes) if form.packed else codes, scales)

    def decode(
        self, codes: DeviceCodes, out: Float32[Tensor, "images sites tokens width"] | None
    ) -> Float32[Tensor, "images sites tokens width"]:
        assert codes.scales is not None, "integer codes carry scales"
        shape = self.decoded_shape(codes.values.shape)
        decoded = torch.empty(shape, device=codes.values.device) if out is None else out
        step = images_at_once(decoded.shape, decoded.device)
        parts = zip(decoded.split(step), codes.values.split(step), codes.scales.split(step), strict=True)
        for part, values, scales in parts:
            part.copy_(_unpack(values, self._width) if self._form.packed else values)
            for channels, of_group in self._groups(part, scales.float()):
                channels.mul_(of_group)
            # Not one addcmul_, which rounds once instead of twice: results would change in their last bits.
            part.mul_(self._spread).add_(self._centre)
        return decoded

    def _groups(
        self,
        values: Float32[Tensor, "images sites tokens width"],
        scales: Float32[Tensor, "images sites tokens groups"],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of the channels and their scales, (..., groups, channels) and (..., groups, 1).

        One pair for the groups of full size, and one for a shorter last group.
        """
        size = self._form.group_size(self._width)
        full = self._width // size
        if full:
            yield values[..., : full * size].unflatten(-1, (full, size)), scales[..., :full, None]
        if full * size < self._width:
            yield values[..., None, full * size :], scales[..., full:, None]


def images_at_once(shape: Sequence[int], device: torch.device) -> int:
    """Number of images that are encoded or decoded together: on a GPU all of them, on a CPU a tile.

    Args:
        shape: images, sites, tokens, width of the activations.
        device: where they are.
    """
    images, *of_image = shape
    if device.type != "cpu":
        return max(1, images)
    return max(1, TILE_BYTES // (math.prod(of_image) * torch.float32.itemsize))


def _pack(codes: Int8[Tensor, "images sites tokens width"]) -> UInt8[Tensor, "images sites tokens _"]:
    nibbles = codes + ZERO
    if nibbles.shape[-1] % 2:
        nibbles = torch.nn.functional.pad(nibbles, (0, 1), value=ZERO)
    # As 16-bit numbers 0x0H0L, which is many times faster than selecting every second byte.
    pairs = nibbles.view(torch.int16)
    return pairs.bitwise_or_(pairs >> 4).to(torch.uint8)


def _unpack(
    packed: UInt8[Tensor, "images sites tokens _"], width: int
) -> Int8[Tensor, "images sites tokens {width}"]:
    pairs = packed.to(torch.int16, memory_format=torch.contiguous_format)
    pairs.bitwise_or_(pairs << 4).bitwise_and_(0x0F0F)
    return pairs.view(torch.int8).sub_(ZERO)[..., :width]
