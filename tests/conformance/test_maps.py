"""Every sensitivity map in the folder faces the same suite; a new file is tested by being there."""

import pytest

from saint import discovery
from saint.testing import MapSuite


@pytest.mark.parametrize("name", discovery.names("sensitivity"))
@pytest.mark.parametrize("test", [name for name in dir(MapSuite) if name.startswith("test_")])
def test_map(name: str, test: str) -> None:
    suite = MapSuite()
    suite.map_name = name
    getattr(suite, test)()
