"""The version of policy-router: of the package, and in every decision record."""

VERSION = "0.1.0"
