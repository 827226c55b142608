"""How many examples a law looks at."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> settings:
    """Look at so many examples where other laws look at 100; the brief profile has 15 for each."""
    of_others = settings().max_examples
    is_brief = settings.get_current_profile_name() == "brief"
    return settings(max_examples=of_others if is_brief else count * of_others // 100)
