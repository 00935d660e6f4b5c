"""A running service reminds of a grant that ends, without being asked anything."""

import asyncio

from command_line import CommandLine
from structlog.testing import capture_logs

from fraudguard.clock import DAY_MILLIS, SystemClock
from fraudguard.config import load
from fraudguard.policy import Scope
from fraudguard.service import running
from fraudguard.store import open_reader, open_writer, policies

SECONDS = 10
DELIVERED = (
    "SELECT a.kind, a.account FROM alerts AS a JOIN deliveries AS d ON d.alert = a.id WHERE d.state = 'delivered'"
)


async def test_a_grant_that_ends_is_told_of(tmp_path, monkeypatch):
    for port in ("AGI", "HTTP"):
        monkeypatch.setenv(f"FRAUDGUARD_{port}__PORT", "0")
    fraudguard = CommandLine(tmp_path / "fraudguard.toml")
    await asyncio.to_thread(fraudguard, "init")
    settings = load(fraudguard.config)
    now = SystemClock().now()
    async with await open_writer(settings.database) as writer:
        for account, until in (("fax1", now + DAY_MILLIS), ("fax2", now + 30 * DAY_MILLIS)):
            terms = {"highest": 100_000, "until": until, "reason": "fax", "author": "eve", "now": now - 9 * DAY_MILLIS}
            await policies.add_grant(writer, Scope("default", account), "44", **terms)
    with capture_logs():
        async with (
            running(settings, SystemClock()),
            await open_reader(settings.database) as reader,
            asyncio.timeout(SECONDS),
        ):
            while not (told := await reader.read(lambda connection: connection.execute(DELIVERED).fetchall())):
                pass  # each look is a turn of the loop
    assert told == [("grant_expiring", "fax1")]
