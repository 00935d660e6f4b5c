from pathlib import Path

import pytest
from command_line import CommandLine

PRICES = """\
prefix,destination,per_minute,connect_fee,minimum,increment
1,United States,0.01,0,6,6
44,United Kingdom,0.02,0,1,1
4470,United Kingdom personal,0.40,0.10,60,60
53,Cuba,0.80,0,60,60
882,Networks,3.5,0,60,60
"""


@pytest.fixture
def fresh(tmp_path) -> CommandLine:
    """A place where nothing was initialised yet."""
    return CommandLine(tmp_path / "etc" / "fraudguard.toml")


@pytest.fixture
def empty(fresh) -> CommandLine:
    """Initialised, without any price list."""
    fresh("init")
    return fresh


@pytest.fixture
def prices(tmp_path) -> Path:
    path = tmp_path / "carrier.csv"
    path.write_text(PRICES)
    return path


@pytest.fixture
def fraudguard(empty, prices) -> CommandLine:
    """Initialised, with a price list of five prefixes as deck 'carrier'."""
    empty("rates", "import", prices, "--deck", "carrier")
    return empty


@pytest.fixture
def tenants(empty) -> CommandLine:
    """Initialised, with the tenants acme and globex."""
    with empty.config.open("a") as file:
        file.write('\n[tenants.acme]\nzone = "Europe/Berlin"\n[tenants.globex]\n')
    return empty
