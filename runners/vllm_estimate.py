"""What a static batch will take, estimated before any run from the sizes alone.

=========  ===============================================  ======
symbol     meaning                                          unit
=========  ===============================================  ======
n, o, b    input length, output length, batch size          tokens, tokens, 1
s          requests that decode together, min(b, limit)     1
p, d       parameters of the model, devices                 10⁹, 1
=========  ===============================================  ======

A forward pass reads the weights once, and 128 tokens of arithmetic take as long as that: t ∝ 1 + tokens / 128 (a
roofline; Williams, Waterman, Patterson 2009). A batch takes passes over its n·b prompt tokens and, for each group of s
requests, o − 1 passes over s tokens. Bigger models and fewer devices make a pass slower by √(p / d): the exponents that
fit 719 runs on an MI300X, 1,420 on four kinds of device and 4,377 on A100 and V100 are 0.42 to 0.57 and −0.30 to −0.47.

Within one engine the logarithm's error has a standard deviation of 0.21 to 0.68 on eight recorded grids, CPU to H100;
that of √(n·o·b) has 0.46 to 0.77, and only one grid (two small models on an H100) prefers it. It does not know the
device: the ratios between points are what it is good for.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from planner.space.types import FloatArray

__all__ = ["batch_seconds"]

_BALANCE_TOKENS: Final = 128.0
_PASS_S: Final = 3e-3
"""A forward pass over few tokens by a model of 10⁹ parameters on one device of today's."""


def batch_seconds(
    input_len: FloatArray, output_len: FloatArray, batch_size: FloatArray, limit: FloatArray, parameters: FloatArray,
    devices: FloatArray,
) -> FloatArray:
    """Seconds of one batch at each point, (N,), above 0.

    All arguments are (N,). limit: requests that the engine takes at once, infinite where there is no limit.
    parameters: of the model, in 10⁹; ones where they are not known.
    """
    together = np.minimum(batch_size, limit)
    groups = np.ceil(batch_size / together)
    prefill = groups + input_len * batch_size / _BALANCE_TOKENS
    decode = groups * (output_len - 1) * (1 + together / _BALANCE_TOKENS)
    seconds: FloatArray = _PASS_S * np.sqrt(parameters / devices) * (prefill + decode)
    return seconds
