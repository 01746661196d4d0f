"""Numbers by chance, equal on every machine: only a generator's raw words are used, which NumPy does not change."""

from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

GAUSSIAN_UNIT = 2.0**-12
"""What a whole number of `gaussian` stands for."""
_NUM_QUANTILES = 1 << 16
_DENSE = 4


def words(seed: int, count: int) -> NDArray[np.uint64]:
    """So many words of 64 bits."""
    return np.asarray(np.random.PCG64(seed).random_raw(count), dtype=np.uint64)


def bits(seed: int, num_rows: int, num_bits: int) -> NDArray[np.uint8]:
    """Rows (num_rows, num_bits) of zeros and ones."""
    per_row = -(-num_bits // 64)
    raw = words(seed, num_rows * per_row).astype("<u8").view(np.uint8)
    return np.unpackbits(raw.reshape(num_rows, per_row * 8), axis=1)[:, :num_bits]


def unique_bits(seed: int, num_rows: int, num_bits: int) -> NDArray[np.uint8]:
    """Rows of zeros and ones no two of which are equal; needs 2^num_bits >= num_rows."""
    if 1 << num_bits <= _DENSE * num_rows:  # few words are left over: take the first of all of them
        return binary_digits(permutation(seed, 1 << num_bits)[:num_rows], num_bits)
    spare = num_rows
    while True:
        drawn = bits(seed, num_rows + spare, num_bits)
        firsts = np.sort(np.unique(drawn, axis=0, return_index=True)[1])
        if len(firsts) >= num_rows:
            return drawn[firsts[:num_rows]]
        spare *= 2


def permutation(seed: int, count: int) -> NDArray[np.int64]:
    """The numbers below `count` in an order by chance."""
    return np.argsort(words(seed, count), kind="stable").astype(np.int64)


def binary_digits(numbers: NDArray[np.int64], num_bits: int) -> NDArray[np.uint8]:
    """Rows of binary digits, the most significant first."""
    return ((numbers[:, None] >> np.arange(num_bits - 1, -1, -1)) & 1).astype(np.uint8)


def gaussian(seed: int, num_rows: int, num_columns: int) -> NDArray[np.int16]:
    """Numbers of mean 0 and deviation 1 in units of `GAUSSIAN_UNIT`: 16 bits of chance pick one of 65,536 quantiles."""
    count = num_rows * num_columns
    picked = words(seed, -(-count // 4)).astype("<u8").view("<u2")[:count]
    found: NDArray[np.int16] = _quantiles()[picked].reshape(num_rows, num_columns)
    return found


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.int16]:
    """Rounded far more coarsely than machines differ."""
    normal = NormalDist()
    exact = [normal.inv_cdf((place + 0.5) / _NUM_QUANTILES) for place in range(_NUM_QUANTILES)]
    return np.rint(np.array(exact) / GAUSSIAN_UNIT).astype(np.int16)
