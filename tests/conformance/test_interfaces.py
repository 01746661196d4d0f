"""Every token interface in the folder faces the same suite; a new file is tested by being there."""

import pytest

from saint import discovery
from saint.testing import InterfaceSuite


@pytest.mark.parametrize("name", discovery.names("interfaces"))
@pytest.mark.parametrize("test", [name for name in dir(InterfaceSuite) if name.startswith("test_")])
def test_interface(name: str, test: str) -> None:
    suite = InterfaceSuite()
    suite.interface = name
    getattr(suite, test)()
