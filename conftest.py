"""The examples of the README and of the documentation run as tests."""

import os
import tempfile

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from warm import load_libraries

load_libraries()  # compiled, as they were installed: what a module under jaxtyping's hook loads first is compiled anew

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/**/*.md"],
    setup=lambda namespace: namespace.update(folder=tempfile.mkdtemp()),
).pytest()


def pytest_configure() -> None:
    """Keys and trust files of whoever runs the examples are not theirs to write."""
    os.environ["SAINT_HOME"] = tempfile.mkdtemp()
