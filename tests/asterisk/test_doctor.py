"""doctor against the real thing: all well, and each way in which it is not."""

from __future__ import annotations

import json
import subprocess

import pytest
from asterisk_harness.service import FRAUDGUARD, Service

from fraudguard.config import load
from fraudguard.dialplan.install import install
from fraudguard.dialplan.render import render


@pytest.fixture
def service(site, tmp_path):
    service = Service(tmp_path, site.guard_port)
    service.prepare(ami_port=site.ami_port, ami_secret=site.ami_secret)
    config = tmp_path / "fraudguard.toml"
    text = render(load(config))
    install(text, tmp_path / "fraudguard.conf")
    (tmp_path / "cdr_manager.conf").write_text("[general]\nenabled = yes ; for the guard\n")
    assert site.asterisk.load_dialplan(text) == []
    yield service
    service.stop()


@pytest.fixture
def doctor(tmp_path):
    """Run doctor and return its status, and its findings that are not ok by what they are about."""

    def run():
        command = [FRAUDGUARD, "doctor", "--json", "--dialplan", "fraudguard.conf"]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        found = {finding["check"]: finding for finding in json.loads(done.stdout)}
        return done.returncode, {check: finding for check, finding in found.items() if finding["grade"] != "ok"}, found

    return run


def test_all_is_well_but_that_nobody_is_told_of_alerts(service, doctor):
    service.start()
    status, wrong, found = doctor()
    assert (status, list(wrong)) == (0, ["alerts"])
    assert found["ami asterisk: version"]["what"].startswith("Asterisk 22.")
    assert {check for check in found if check.startswith("ami asterisk: ")} == {
        f"ami asterisk: {check}"
        for check in ("rights", "version", "call records", "clock", "trunk carrier", "trunk second", "dialplan")
    }


def test_a_wrong_secret_is_a_fault_with_the_remedy(service, doctor, tmp_path):
    (tmp_path / "ami.secret").write_text("wrong")
    status, wrong, _ = doctor()
    assert status == 1
    assert "Authentication failed" in wrong["ami asterisk"]["what"]
    assert "dialplan install" in wrong["ami asterisk"]["fix"]
    assert "wrong" not in str(wrong)
    assert "does not answer" in wrong["service"]["what"]


def test_a_user_with_all_rights_is_a_warning(service, doctor, tmp_path):
    config = tmp_path / "fraudguard.toml"
    config.write_text(config.read_text().replace("[ami.asterisk]", '[ami.asterisk]\nusername = "everything"'))
    _, wrong, _ = doctor()
    assert "Originate" in wrong["ami asterisk: rights"]["what"]
    assert wrong["ami asterisk: rights"]["grade"] == "warning"


def test_a_trunk_without_endpoint_a_dialplan_not_loaded_and_records_not_sent(site, service, doctor, tmp_path):
    config = tmp_path / "fraudguard.toml"
    config.write_text(config.read_text().replace("[trunks.second]", "[trunks.absent]"))
    (tmp_path / "cdr_manager.conf").write_text("[general]\nenabled = no\n")
    site.asterisk.load_dialplan("")
    status, wrong, _ = doctor()
    assert status == 1
    assert "is not there" in wrong["ami asterisk: trunk absent"]["what"]
    assert "no call is guarded" in wrong["ami asterisk: dialplan"]["what"]
    assert "enabled = yes" in wrong["ami asterisk: call records"]["fix"]
