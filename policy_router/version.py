"""The version of policy-router: of the package, and in every decision record."""

from typing import Final

VERSION: Final = "0.1.0"
