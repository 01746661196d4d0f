"""Every routing policy in the folder faces the same suite; a new file is tested by being there."""

import pytest

from saint import discovery
from saint.testing import PolicySuite


@pytest.mark.parametrize("name", discovery.names("candidates"))
@pytest.mark.parametrize("test", [name for name in dir(PolicySuite) if name.startswith("test_")])
def test_policy(name: str, test: str) -> None:
    suite = PolicySuite()
    suite.policy = name
    getattr(suite, test)()
