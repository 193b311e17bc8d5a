"""Kernels for processors and for GPUs, where torch has none that suits.

Those of processors, in C++, are compiled when the wheel is built, or when losa is installed from its sources
on a machine with a C++ compiler. Those of GPUs, in CUDA C++, are compiled where they run. Where kernels are
missing, torch computes the same; `kernels_told` says which of the two does.
"""

from losa.adapt.kernels.combinations import computes_combinations, few_combinations
from losa.adapt.kernels.dropout_factors import computes_factors, dropout_factors
from losa.adapt.kernels.library import kernels_told, left_to_torch
from losa.adapt.kernels.narrow_heads import MOST_CHANNELS, computes_attention, narrow_attention
from losa.adapt.kernels.normalised_sums import computes_normalised_sums, normalised_sum

__all__ = [
    "MOST_CHANNELS",
    "computes_attention",
    "computes_combinations",
    "computes_factors",
    "computes_normalised_sums",
    "dropout_factors",
    "few_combinations",
    "kernels_told",
    "left_to_torch",
    "narrow_attention",
    "normalised_sum",
]
