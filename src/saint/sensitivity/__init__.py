"""Where the loss would answer to a change: every module here without a leading underscore is one map."""

from saint.sensitivity._map import Map as Map
from saint.sensitivity._measure import measure_sensitivity as measure_sensitivity
from saint.sensitivity._settings import Sensitivity as Sensitivity
