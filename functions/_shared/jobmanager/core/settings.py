"""The environment variables that Terraform gives a function."""

import os

from jobmanager.core.errors import SettingMissing


def setting(name: str) -> str:
    """The value of the environment variable ``name``; raises SettingMissing, which says which it is."""
    value = os.environ.get(name)
    if not value:
        raise SettingMissing(f"{name} is not set")
    return value


def number_setting(name: str) -> int:
    """Like :func:`setting`, for a whole number."""
    value = setting(name)
    try:
        return int(value)
    except ValueError:
        raise SettingMissing(f"{name} must be a whole number, not {value!r}") from None
