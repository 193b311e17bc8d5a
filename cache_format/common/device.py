"""Choice of the compute device."""

from losa.cache_format.errors import LosaError


def resolve_device(name: str) -> str:
    """Check the name of a device; ``auto`` becomes ``cuda`` if there is a GPU, else ``cpu``.

    Torch is imported when the function is called.

    Raises:
        LosaError: there is no such device. The CPU never replaces a GPU that was requested.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise LosaError(f"device={name}: expected auto, cpu, cuda or cuda:<number>") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise LosaError(
            f"device={name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices; "
            "use device=cpu, or install a driver and a build of torch that fit"
        )
    if device.type not in ("cpu", "cuda"):
        raise LosaError(f"device={name}: expected auto, cpu, cuda or cuda:<number>")
    return name
