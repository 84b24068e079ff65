"""Every error the demo raises on purpose. A class's docstring is its message: what happened, what it means, what to do.

A message's `{names}` are filled with the facts given by keyword where the error is raised.
"""


class DemoError(Exception):
    """The demo failed, so what it was asked for is not there; read the cause above and run it again."""

    def __init__(self, message: str | None = None, **facts: object) -> None:
        super().__init__(message if message is not None else (type(self).__doc__ or "").format(**facts))


class PostgresMissingError(DemoError):
    """PostgreSQL {major} is not on this machine, so no server can start; run `pip install 'pgsegments[demo]'`."""


class AccountMissingError(DemoError):
    """PostgreSQL refuses to run as root and neither {names} exists to run it instead; run this as an ordinary user."""


class ForeignFolderError(DemoError):
    """The folder {folder} belongs to somebody else, so it cannot be trusted; remove it or run this as its owner."""


class StartError(DemoError):
    """PostgreSQL did not start in {folder}, so nothing can connect; mend what it says here and start it again: {log}"""


class StopError(DemoError):
    """PostgreSQL still runs in {folder} as processes {pids}, so its files are in use; stop it by mode immediate."""


class AlreadyRunningError(DemoError):
    """A demo runs in this checkout already (process {pid}), and it owns the tables; watch that one, or stop it with Ctrl-C."""


class StepFailedError(DemoError):
    """The demo's step "{step}" failed, so it cannot go on; mend what it says here and run it again: {said}"""


class UntrueError(DemoError):
    """dbt test has found what the events do not lead to ({tests}), so the tables are wrong; .demo/dbt/dbt.log says where."""


class NotDeliveredError(DemoError):
    """Of {documents:,} toggles {delivered:,} reached the webhook in time, so some are missing; .demo/listener.log tells why."""


class PageError(DemoError):
    """The ports {port} to {last} of 127.0.0.1 are all taken, so there can be no page; choose --port 0, or --no-page."""


class PortError(DemoError):
    """The port {port} of 127.0.0.1 cannot be opened ({why}), so nobody could post to it; choose another one with --port."""
