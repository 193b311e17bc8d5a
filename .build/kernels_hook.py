"""Compiles the kernels of adapt/kernels for a wheel, or into the sources for an editable installation.

Without a C++ compiler the distribution has none, and torch computes what they would.
LOSA_KERNELS=required makes that an error.
"""

import os
import platform
import runpy
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelsHook(BuildHookInterface[Any]):
    """Compiles before a distribution is built."""

    PLUGIN_NAME = "kernels"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what was compiled into a wheel that is for this platform."""
        compiling = runpy.run_path(str(Path(self.root, "adapt/kernels/compiling.py")))
        try:
            compiling["compile_kernels"]()
        except compiling["CompilerError"] as error:
            if os.environ.get("LOSA_KERNELS") == "required":
                raise
            self.app.display_warning(f"Kernels were not compiled, torch takes their place: {error}")
        libraries = compiling["compiled_libraries"]()
        if not libraries or version == "editable":
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"
        for path in libraries:
            build_data["force_include"][str(path)] = f"losa/adapt/kernels/{path.name}"


def _platform() -> str:
    """The platform of a wheel, as pip names it. On a Mac, Python may name two, or a version of its own."""
    if sys.platform == "darwin":
        return f"macosx_11_0_{platform.machine()}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
