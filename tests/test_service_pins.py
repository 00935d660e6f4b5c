"""PINs in the service as a whole: commands beside it, its database, restarts, and a pepper that is gone."""

import asyncio
import re
import time
from dataclasses import replace

import pyotp
import pytest
from command_line import CommandLine
from structlog.testing import capture_logs

from fraudguard.clock import SystemClock
from fraudguard.config import load
from fraudguard.errors import ConfigError
from fraudguard.pins.guessing import FREE, Scope
from fraudguard.pins.vault import PEPPER_BYTES, Vault, make_pepper
from fraudguard.secretfile import read_secret_file
from fraudguard.service import running
from fraudguard.service.pins import Vaults
from fraudguard.store import open_reader
from fraudguard.store.pins import list_pins
from fraudguard.testing import FakeAsterisk

PRICES = "prefix,destination,per_minute\n1,United States,0.01\n44,United Kingdom,0.06\n"
ABROAD = "011442079460000"
WRONG = "730264"


@pytest.fixture
def fraudguard(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAUDGUARD_AGI__PORT", "0")
    monkeypatch.setenv("FRAUDGUARD_HTTP__PORT", "0")
    for limit in ("SAME_NUMBER", "ACCOUNT_ATTEMPTS"):  # the same account calls the same number again and again
        monkeypatch.setenv(f"FRAUDGUARD_SPEED__{limit}", "0")
    prices = tmp_path / "carrier.csv"
    prices.write_text(PRICES)
    command_line = CommandLine(tmp_path / "fraudguard.toml")
    command_line("init")
    command_line("rates", "import", prices, "--deck", "carrier")
    return command_line


async def add(fraudguard, *arguments):
    """Add a PIN and return its digits."""
    added = await beside(fraudguard, "pin", "add", *arguments)
    (digits,) = re.findall(r"^PIN: ([0-9]+)$", added.out, re.MULTILINE)
    return digits


def served(fraudguard):
    return running(load(fraudguard.config), SystemClock())


async def beside(fraudguard, *arguments):
    return await asyncio.to_thread(fraudguard, *arguments)


async def call(service, *keyed, number=ABROAD, **more):
    asterisk = FakeAsterisk(*service.address)
    channel = replace(asterisk.channel(), keyed=tuple(f"{digits}#" for digits in keyed))
    arguments = {"account": "204", "source": "198.51.100.7:5060"} | more
    return await asterisk.outbound(number=number, trunk="carrier", channel=channel, **arguments)


async def reason(service, *keyed, **more):
    result = await call(service, *keyed, **more)
    return result.variables.get("FRAUDGUARD_REASON")


async def becomes(expected, service, *keyed):
    """Call until it comes to that, for as long as an edit may take to be seen."""
    deadline = time.monotonic() + 2
    while (found := await reason(service, *keyed)) != expected and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return found


async def test_a_pin_lets_a_call_go_and_is_written_down_nowhere(fraudguard):
    digits = await add(fraudguard, "Ann")
    with capture_logs() as logs:
        async with served(fraudguard) as service:
            result = await call(service, WRONG, digits)
            assert (result.variables["FRAUDGUARD_VERDICT"], result.variables["FRAUDGUARD_REASON"]) == ("allow", "ok")
            assert [command.split()[0] for command in result.commands] == ["EXEC", "GET", "GET", "SET"]
            assert await reason(service, number="12125550100") == "ok"
            (_, attempt) = (await beside(fraudguard, "attempts", "--json")).json
    assert (attempt["pin"], attempt["pin_tries"], attempt["pin_required"]) == ("Ann", 2, True)
    assert digits not in repr((logs, result.variables, attempt))
    for file in fraudguard.config.parent.iterdir():
        assert digits.encode() not in file.read_bytes(), file


async def test_edits_are_obeyed_while_it_runs(fraudguard):
    with capture_logs():
        async with served(fraudguard) as service:
            assert await reason(service) == "pin_required"
            digits = await add(fraudguard, "Ann")
            assert await becomes("ok", service, digits) == "ok"
            await beside(fraudguard, "pin", "revoke", "Ann")
            assert await becomes("pin_required", service, digits) == "pin_required"


async def test_a_lock_outlives_the_service_and_an_unlock_takes_it_back(fraudguard):
    digits = await add(fraudguard, "Ann")
    with capture_logs() as logs:
        async with served(fraudguard) as service:
            for _ in range(2):
                assert await reason(service, WRONG, WRONG, WRONG) == "pin_wrong"
            assert await reason(service, digits) == "pin_locked"
        async with served(fraudguard) as service:
            assert await reason(service, digits) == "pin_locked"
            kinds = {alert["kind"] for alert in (await beside(fraudguard, "alerts", "list", "--json")).json}
            assert kinds == {"pin_failures", "pin_locked_out"}
            await beside(fraudguard, "pin", "unlock", "--account", "204")
            assert await becomes("ok", service, digits) == "ok"
    assert WRONG not in repr(logs)


async def test_guesses_at_once_are_counted_in_the_database_before_they_are_looked_at(fraudguard):
    await add(fraudguard, "Ann")
    with capture_logs():
        async with served(fraudguard) as service:
            found = await asyncio.gather(*(reason(service, WRONG) for _ in range(30)))
            assert found.count("pin_wrong") == FREE[Scope.ACCOUNT] + 1
            assert set(found) == {"pin_wrong", "pin_locked"}


async def test_a_crowd_with_the_right_pin_is_let_through(fraudguard):
    digits = await add(fraudguard, "Ann")
    with capture_logs():
        async with served(fraudguard) as service:
            assert set(await asyncio.gather(*(reason(service, digits) for _ in range(30)))) == {"ok"}
            assert (await beside(fraudguard, "alerts", "list", "--json")).json == []


async def test_calls_at_once_share_the_money_of_the_day(fraudguard):
    digits = await add(fraudguard, "Ann", "--per-day", "0.06")
    with capture_logs():
        async with served(fraudguard) as service:
            results = await asyncio.gather(*(call(service, digits) for _ in range(3)))
    leases = sorted(result.variables["FRAUDGUARD_LEASE"] for result in results)
    assert leases == ["0", "0", "58"]
    assert sorted(result.variables["FRAUDGUARD_REASON"] for result in results) == ["ok", "pin_money", "pin_money"]


async def test_a_pin_keyed_under_threat_lets_the_call_go_and_says_so(fraudguard):
    await add(fraudguard, "Ann")
    digits = await add(fraudguard, "Ann", "--duress")
    with capture_logs():
        async with served(fraudguard) as service:
            assert await reason(service, digits) == "ok"
            (alert,) = (await beside(fraudguard, "alerts", "list", "--json")).json
    assert alert["kind"] == "pin_duress"


async def test_a_code_of_an_authenticator_is_good_for_one_call_also_after_a_restart(fraudguard):
    await beside(fraudguard, "pin", "add", "Ann", "--totp", "--account", "204")
    settings = load(fraudguard.config)
    async with await open_reader(settings.database) as reader:
        (pin,) = await reader.read(list_pins)
    vault = Vault(read_secret_file(settings.pepper, where="test"))
    code = pyotp.TOTP(vault.totp_key("default", pin.seal).base32()).now()
    with capture_logs():
        async with served(fraudguard) as service:
            assert await reason(service, code, account="205") == "pin_required"
            assert [await reason(service, code) for _ in range(2)] == ["ok", "pin_wrong"]
        async with served(fraudguard) as service:
            assert await reason(service, code) == "pin_wrong"


# --- the pepper ---


@pytest.mark.parametrize("pepper", [None, "ab" * PEPPER_BYTES, "rubbish"])
async def test_with_another_pepper_nobody_is_asked_and_a_person_is_told(fraudguard, pepper):
    digits = await add(fraudguard, "Ann")
    path = load(fraudguard.config).pepper
    path.unlink() if pepper is None else path.write_text(pepper)
    with capture_logs() as logs:
        async with served(fraudguard) as service:
            result = await call(service, digits)
            assert (len(result.commands), result.variables["FRAUDGUARD_VERDICT"]) == (1, "nowhere")
            assert result.variables["FRAUDGUARD_REASON"] == "pin_required"
            assert await reason(service, number="12125550100") == "ok"
            kinds = {alert["kind"] for alert in (await beside(fraudguard, "alerts", "list", "--json")).json}
    assert "pins_unreadable" in kinds
    told = [line for line in logs if line["log_level"] == "critical"]
    assert "backup" in told[0]["error"]
    assert pepper is None or pepper not in repr(logs)


async def test_a_pepper_that_was_read_once_may_go(fraudguard):
    digits = await add(fraudguard, "Ann")
    with capture_logs():
        async with served(fraudguard) as service:
            load(fraudguard.config).pepper.unlink()
            assert await reason(service, digits) == "ok"


async def test_a_pepper_that_comes_back_is_read_while_it_runs(fraudguard):
    digits = await add(fraudguard, "Ann")
    path = load(fraudguard.config).pepper
    there, away = path.read_text(), path.with_suffix(".away")
    path.rename(away)
    with capture_logs():
        async with served(fraudguard) as service:
            assert await reason(service, digits) == "pin_required"
            away.rename(path)
            assert await reason(service, digits) == "ok"
    assert path.read_text() == there


def test_a_pepper_is_read_again_when_it_does_not_fit(tmp_path):
    path = tmp_path / "pin.pepper"
    peppers = [make_pepper(), make_pepper()]
    schemes = [Vault(bytes.fromhex(pepper)).new_scheme() for pepper in peppers]
    vaults = Vaults(path)
    for pepper, scheme in zip(peppers, schemes, strict=True):
        path.write_text(pepper)
        path.chmod(0o600)
        assert vaults.of(scheme) is vaults.of(scheme)
    with pytest.raises(ConfigError, match="not what the stored PINs were sealed with"):
        vaults.of(schemes[0])
