"""One real Asterisk for each process of tests, two carriers, and phones. Where it cannot run, that is said out loud."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asterisk_harness.loss import prepare
from asterisk_harness.manager import Manager
from asterisk_harness.parties import Party
from asterisk_harness.pbx import Asterisk
from asterisk_harness.root import RootUnavailableError, obtain
from asterisk_harness.service import Service
from asterisk_harness.sip import Carrier, Phones
from asterisk_harness.waiting import free_port
from asterisk_harness.wiretap import Wiretap

from fraudguard.ami.events import EVENTS
from fraudguard.config import Ami, Settings
from fraudguard.dialplan import manager
from fraudguard.dialplan.render import render


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asterisk)


@pytest.fixture(scope="session")
def asterisk_root() -> Path:
    """The cached root. Where there can be none, skip and say so at the end; under CI=true, fail."""
    try:
        return obtain()
    except RootUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run the real Asterisk: {error}")
        pytest.skip(str(error))


@dataclass(frozen=True)
class Site:
    """A running Asterisk with its phones and carriers, and the port on which it expects the guard."""

    asterisk: Asterisk
    carrier: Carrier
    second: Carrier
    phones: Phones
    guard_port: int
    sip_port: int
    sip_password: str
    """Of the one phone that registers, frank."""
    ami_port: int
    ami_secret: str
    """Of both users: fraudguard, with the generated rights, and everything, with all."""

    def manager(self, user: str = "everything") -> Manager:
        """Log in to the manager interface; to be used in a `with` block."""
        return Manager(self.ami_port, user, self.ami_secret)

    def settings(self, **sections: object) -> Settings:
        """Two trunks, an American office and a British tenant; `sections` replace or add."""
        values: dict[str, object] = {
            "numbering": {"home": "US", "outside_line": "9", "area_code": "202"},
            "tenants": {"acme": {"home": "GB", "outside_line": "", "area_code": ""}},
            "trunks": {"carrier": {"deck": "main"}, "second": {"deck": "main", "number_format": "e164"}},
            "agi": {"port": self.guard_port},
            "dialplan": {"guard": f"127.0.0.1:{self.guard_port}"},
        }
        return Settings(**{**values, **sections})


def manager_snippet(secret: str) -> str:
    """The guard's user, as `dialplan install` writes it for an Asterisk on the same machine."""
    return manager.render(Ami(secret=secret), secret, permit=["127.0.0.1/32"], events=EVENTS)


@pytest.fixture(scope="session")
def running_site(asterisk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    carriers = [Carrier(tmp_path_factory.mktemp("sip") / name) for name in ("carrier", "second")]
    sip = free_port(socket.SOCK_DGRAM)
    ami = free_port(socket.SOCK_STREAM)
    sip_password, ami_secret = secrets.token_hex(16), secrets.token_hex(16)
    values = {
        "sip": str(sip),
        "sip_password": sip_password,
        "carrier": str(carriers[0].port),
        "second": str(carriers[1].port),
        "ami": str(ami),
        "ami_secret": ami_secret,
    }
    asterisk = Asterisk(asterisk_root, tmp_path_factory.mktemp("asterisk"), values)
    phones = Phones(sip, tmp_path_factory.mktemp("phones"))
    try:
        for carrier in carriers:
            carrier.start()
        asterisk.configure("manager.d/fraudguard.conf", manager_snippet(ami_secret))
        asterisk.start()
        guard = free_port(socket.SOCK_STREAM)
        yield Site(asterisk, *carriers, phones, guard, sip, sip_password, ami, ami_secret)
    finally:
        asterisk.stop()
        for carrier in carriers:
            carrier.stop()


@pytest.fixture
def site(running_site: Site) -> Iterator[Site]:
    """The site with the standard dialplan loaded, and no call left behind."""
    assert running_site.asterisk.load_dialplan(render(running_site.settings())) == []
    yield running_site
    running_site.asterisk.wait_idle()


@pytest.fixture
def reached(site: Site) -> Callable[[], list[str]]:
    """What was dialled at the first carrier since the test began, in order."""
    mark = site.carrier.mark()
    return lambda: site.carrier.dialled_since(mark)


@pytest.fixture(scope="module")
def loss_folder(running_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service that bounds nothing but money, made once."""
    folder = tmp_path_factory.mktemp("loss")
    prepare(Service(folder, running_site.guard_port), 1, running_site.ami_secret)
    return folder


@pytest.fixture
def link(site: Site) -> Iterator[Wiretap]:
    """A link to Asterisk's manager that can be cut."""
    with Wiretap(site.ami_port) as link:
        yield link


@pytest.fixture
def make_service(site: Site, loss_folder: Path, link: Wiretap, tmp_path: Path) -> Iterator[Callable[[], Service]]:
    """Make a service with a database of its own, that reaches Asterisk through the link; not running."""
    made: list[Service] = []

    def make() -> Service:
        folder = shutil.copytree(loss_folder, tmp_path / f"service{len(made)}")
        file = folder / "fraudguard.toml"
        file.write_text(re.sub(r"(\[ami.asterisk\]\nport = )1\n", rf"\g<1>{link.port}\n", file.read_text()))
        made.append(Service(folder, site.guard_port))
        return made[-1]

    yield make
    for service in made:
        service.stop()


@pytest.fixture
def stopped_service(make_service: Callable[[], Service]) -> Service:
    return make_service()


@pytest.fixture
def own_carrier(site: Site) -> Iterator[Party]:
    """A carrier in place of the first that tells by its own clock how long calls lasted."""
    site.carrier.stop()
    try:
        with Party(site.sip_port, port=site.carrier.port) as carrier:
            yield carrier
    finally:
        site.carrier.start()


@pytest.fixture
def own_phones(site: Site) -> Iterator[Party]:
    """Phones that do what people do: hold, transfer, give up."""
    with Party(site.sip_port) as phones:
        yield phones
