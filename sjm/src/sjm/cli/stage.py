"""Which stage ``sjm`` calls, and as whom."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sjm.cli.exits import ExitCode
from sjm.cli.failures import Failure

if TYPE_CHECKING:
    from sjm.client import Manager

STAGE_VARIABLE = "SJM_STAGE"
URL_VARIABLE = "SJM_URL"
DEFAULT_NAME = "sjm"


@dataclass
class Stage:
    """What the options ``--stage``, ``--name``, ``--url``, ``--profile`` and ``--region`` say.

    The command line is stronger than the environment. In each of them, an address is stronger than a stage.
    """

    stage: str | None = None
    name: str = DEFAULT_NAME
    url: str | None = None
    profile: str | None = None
    region: str | None = None
    _manager: "Manager | None" = field(default=None, repr=False)

    @property
    def manager(self) -> "Manager":
        """The client of the stage. It is made on first use, and sends nothing yet."""
        if self._manager is None:
            self._manager = self.connect()
        return self._manager

    def connect(self, **settings: Any) -> "Manager":
        """A client with these further settings of a Manager. Raises Failure if no stage is named."""
        from sjm.client import Manager

        url, stage = self.url, self.stage
        if not url and not stage:
            url = os.environ.get(URL_VARIABLE) or None
            stage = None if url else os.environ.get(STAGE_VARIABLE) or None
        if not url and not stage:
            raise Failure(
                f"Expected the stage: pass --stage or --url, or set {STAGE_VARIABLE} or {URL_VARIABLE}.",
                ExitCode.USAGE,
            )
        return Manager(stage, url=url, name=self.name, region=self.region, profile=self.profile, **settings)

    def close(self) -> None:
        """Closes the connections, if there are any."""
        if self._manager is not None:
            self._manager.close()
