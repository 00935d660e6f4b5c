"""The unit that is shipped: as told on its page, in the wheel, and what systemd itself says of it."""

import configparser
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from fraudguard.agi.watchdog import LIMIT
from fraudguard.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
UNIT = ROOT / "packaging" / "systemd" / "fraudguard.service"

EXPOSURE = 2.0
"""What `systemd-analyze security` may say: 0 is a sealed box, 10 no box; above 2 something was taken out."""


@pytest.fixture
def service():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNIT)
    return parser["Service"]


def test_the_unit_on_the_page_is_the_one_that_is_shipped():
    page = ROOT.joinpath("docs", "how-to", "run-as-a-service.md").read_text(encoding="utf-8")
    assert f"```ini\n{UNIT.read_text(encoding='utf-8')}```\n" in page


def test_the_unit_is_in_the_wheel():
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {str(UNIT.relative_to(ROOT)): "lib/systemd/system/fraudguard.service"}


def test_the_unit_fits_what_the_service_does(service):
    assert service["Type"] == "notify"
    assert service["Restart"] == "always"
    assert LIMIT < float(service["WatchdogSec"]) <= 3, "the own watchdog tells where it stood, and callers wait 3 s"
    assert service["WatchdogSignal"] == "SIGKILL", "a stopped process does not hear another"
    assert int(service["RestartPreventExitStatus"]) == ConfigError.exit_status
    assert int(service["LimitNOFILE"]) > 10_000, "agi.sessions"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_every_line_and_finds_it_shut(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/fraudguard/bin/fraudguard", "/bin/true"))

    def analyze(*words):
        command = ["systemd-analyze", "--no-pager", *words, str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    status, said = analyze("verify", "--man=no")
    assert (status, said) == (0, "")
    status, said = analyze("security", "--offline=true", f"--threshold={int(EXPOSURE * 10)}")
    assert status == 0, said
