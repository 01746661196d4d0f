"""Where the loss would answer to a change: every module here without a leading underscore is one map."""

from saint.sensitivity._map import Map as Map, NoOptions as NoOptions
from saint.sensitivity._measure import (
    Observation as Observation,
    measure_sensitivities as measure_sensitivities,
    measure_sensitivity as measure_sensitivity,
    observe as observe,
)
from saint.sensitivity._seen import Seen as Seen
from saint.sensitivity._settings import Sensitivity as Sensitivity
