"""The codecs of ``losa.cache_format.codecs`` on a torch device. Importing this imports torch."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from losa.cache_format.codecs import INT8_LEVELS, SCALE_FLOOR, Calibration, Codes, needs_calibration
from losa.cache_format.identity import CodecName

_CAST_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """Codes on a device. ``values`` is float32, float16, bfloat16 or int8."""

    values: Shaped[Tensor, "images sites tokens width"]
    scales: Float32[Tensor, "images sites tokens"] | None = None

    def to_host(self) -> Codes:
        """The same codes as numpy arrays in the storage dtype."""
        values = self.values.cpu()
        if values.dtype == torch.bfloat16:
            values = values.view(torch.uint16)
        return Codes(values.numpy(), None if self.scales is None else self.scales.cpu().numpy())


class DeviceCodec:
    """Encodes and decodes on ``device``; equal to the numpy reference."""

    def __init__(
        self, name: CodecName, calibration: Calibration | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.name = name
        self.device = torch.device(device)
        self._centre = self._spread = None
        if needs_calibration(name):
            assert calibration is not None, f"codec {name} needs a calibration"
            # Copies: what was read from a cache is not writable, and torch warns of sharing it.
            self._centre = torch.tensor(calibration.centre, device=self.device)[:, None]
            self._spread = torch.tensor(calibration.spread, device=self.device)[:, None]

    def encode(self, activations: Float[Tensor, "images sites tokens width"]) -> DeviceCodes:
        """Activations to codes, on the device they are on."""
        if self._centre is None or self._spread is None:
            return DeviceCodes(activations.to(_CAST_DTYPES[self.name]))
        z = (activations.float() - self._centre).div_(self._spread)
        scales = (z.abs().amax(dim=-1) / INT8_LEVELS).clamp_(min=SCALE_FLOOR)
        # The reference clips; here rounding cannot leave the range: |z| / scale <= 127 (1 + 2e-7).
        return DeviceCodes(z.div_(scales[..., None]).round_().to(torch.int8), scales)

    def decode(self, codes: DeviceCodes) -> Float32[Tensor, "images sites tokens width"]:
        """Codes to float32, on the device they are on."""
        if self._centre is None or self._spread is None:
            return codes.values.float()
        assert codes.scales is not None, "int8 codes carry scales"
        # In place, because a batch of float32 activations is large: one allocation instead of three.
        values = codes.values.float()
        return values.mul_(codes.scales[..., None]).mul_(self._spread).add_(self._centre)

    def to_device(self, codes: Codes) -> DeviceCodes:
        """Move stored codes to the device, still as codes."""
        values = torch.from_numpy(codes.values)
        if codes.values.dtype == np.uint16:
            values = values.view(torch.bfloat16)
        scales = None if codes.scales is None else torch.from_numpy(codes.scales).to(self.device)
        return DeviceCodes(values.to(self.device), scales)
