"""The main flow from the command line, as a user runs it, on a real model as small as can be."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import saint
from saint import config
from saint.growth import Plan, open_data, start
from saint.records import Outcome
from tests.flow.conftest import Workshop
