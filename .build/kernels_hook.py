"""Compiles the kernels of adapt/kernels for a wheel, or into the sources for an editable installation.

Without a C++ compiler the distribution has none, and torch computes what they would.
LOSA_KERNELS=required makes that an error.
"""

import os
import runpy
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
            libraries = compiling["compile_kernels"]()
        except compiling["CompilerError"] as error:
            if os.environ.get("LOSA_KERNELS") == "required":
                raise
            self.app.display_warning(f"The kernels were not compiled, torch takes their place: {error}")
            return
        if not libraries or version == "editable":
            return
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        for path in libraries:
            build_data["force_include"][str(path)] = f"losa/adapt/kernels/{path.name}"
