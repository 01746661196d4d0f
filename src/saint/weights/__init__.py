"""Files of weights from outside: what one must be before anything else opens it. Needs no PyTorch."""

from saint.weights._caps import (
    AS_STORED as AS_STORED,
    DTYPES as DTYPES,
    Caps as Caps,
    TensorSpec as TensorSpec,
)
from saint.weights._check import Weights as Weights, check_weights as check_weights
from saint.weights._file import read_weights as read_weights
