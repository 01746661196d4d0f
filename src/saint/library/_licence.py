"""The licence of a graft: an SPDX expression, held against SPDX's list where a package that has it is installed."""

import re

from saint.errors import ConfigError

LOOKS_LIKE_SPDX = re.compile(r"[A-Za-z0-9(][A-Za-z0-9.+() -]{0,199}")


def must_be_licence(text: str) -> str:
    """An SPDX expression as SPDX spells it; without the list (package `packaging` from 24.2 on), any that looks so.

    Raises:
        ConfigError: It is none.
    """
    if not LOOKS_LIKE_SPDX.fullmatch(text):
        raise ConfigError(f"{text!r:.80} is no SPDX licence expression; give one such as Apache-2.0 or CC-BY-4.0")
    try:
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
    except ImportError:
        return text
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise ConfigError(
            f"{text!r:.80} is not in SPDX's list of licences ({error}); give one such as Apache-2.0, CC-BY-4.0 or "
            "LicenseRef-our-own"
        ) from error
