"""The environment variables that Terraform sets on a function."""

import os

from jobmanager.core.errors import SettingMissing


def setting(name: str) -> str:
    """Returns the value of an environment variable; raises SettingMissing if it is not set."""
    value = os.environ.get(name)
    if not value:
        raise SettingMissing(
            f"the environment variable {name} is not set: Terraform must set it for this function"
        )
    return value


def number_setting(name: str) -> int:
    """Returns the value of an environment variable as a whole number; raises SettingMissing."""
    value = setting(name)
    try:
        return int(value)
    except ValueError:
        raise SettingMissing(
            f"expected the environment variable {name} to be a whole number, not {value!r}"
        ) from None


def is_on(name: str) -> bool:
    """Whether the environment variable is ``true``; raises SettingMissing if it is not set."""
    return setting(name) == "true"
