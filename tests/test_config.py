from pathlib import Path

import pytest

from fraudguard.config import Settings, load, locate
from fraudguard.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def _write(text: str) -> Path:
        path = tmp_path / "fraudguard.toml"
        path.write_text(text)
        return path

    return _write


def test_an_empty_file_has_safe_defaults(write):
    settings = load(write(""))
    assert settings.agi.host == "127.0.0.1"
    assert settings.currency == "USD"
    assert settings.numbering.home == "US"
    assert settings.trunks == {}


def test_the_database_lies_beside_the_file_unless_named(write, tmp_path):
    assert load(write("")).database == tmp_path / "fraudguard.db"
    assert load(write('[store]\npath = "/srv/x.db"')).database == Path("/srv/x.db")


def test_a_tenant_overrides_only_what_it_names(write):
    settings = load(write('[numbering]\nhome = "US"\narea_code = "212"\n[tenants.acme]\nhome = "GB"\n'))
    assert settings.numbering_of("acme").home == "GB"
    assert settings.numbering_of("acme").area_code == "212"
    assert settings.numbering_of("somebody-else") == settings.numbering


def test_a_tenants_strict_profile_overrides_single_keys(write, monkeypatch):
    monkeypatch.delenv("FRAUDGUARD_STRICT__HOURS")
    settings = load(
        write(
            '[strict]\nholidays = true\nholidays_in = "CA"\nlimit = "0.05"\n'
            '[tenants.acme.strict]\nhours = []\nask = ["domestic"]\n'
            '[tenants.abroad]\nhome = "DE"\n'
            '[tenants.bavarian]\nhome = "DE"\nstrict.holidays_in = "BY"\n'
        )
    )
    acme = settings.strict_of("acme")
    assert (acme.hours, acme.holidays, acme.holidays_in, acme.limit, acme.ask) == (
        (),
        True,
        "CA",
        "0.05",
        ("domestic",),
    )
    assert settings.strict_of("nobody") == settings.strict
    assert settings.strict.hours == ("20:00-07:00", "sat,sun")
    assert settings.strict_of("abroad").holidays_in == ""  # California is no part of Germany
    assert settings.strict_of("bavarian").holidays_in == "BY"


def test_pins_are_wanted_when_any_time_wants_them(write):
    settings = load(
        write('[pin]\nask = []\n[tenants.acme.pin]\nask = ["premium"]\n[tenants.b.strict]\nask = ["domestic"]')
    )
    assert [settings.wants_pins(tenant) for tenant in ("default", "acme", "b")] == [False, True, True]


def test_a_tenant_overrides_single_speeds(write):
    settings = load(write("[speed]\naccount_attempts = 7\n[tenants.acme.speed]\nnew_regions = 0\nstrict_percent = 25"))
    acme = settings.speed_of("acme")
    assert (acme.account_attempts, acme.new_regions, acme.strict_percent, acme.tenant_calls) == (7, 0, 25, 20)
    assert settings.speed_of("nobody") == settings.speed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[speed]\nacount_attempts = 1", "speed.acount_attempts: unknown key (did you mean speed.account_attempts?)"),
        ("[speed]\nwindow_seconds = 0", "speed.window_seconds: "),
        ("[tenants.acme.speed]\nstrict_percent = 101", "tenants.acme.speed.strict_percent: "),
        ("[agi]\nprot = 1", "agi.prot: unknown key (did you mean agi.port?)"),
        ("curency = 'USD'", "curency: unknown key (did you mean currency?)"),
        ("[trunks.main]\ndeck = 'a'\ndail = 'x'", "trunks.main.dail: unknown key (did you mean trunks.main.dial?)"),
        ("[tenants.acme]\nhoem = 'US'", "tenants.acme.hoem: unknown key (did you mean tenants.acme.home?)"),
        ("[policy]\nzzzz = 1", "policy.zzzz: unknown key (known: call_seconds, cut_warning_seconds, "),
        ("path = 'x'", "path: unknown key"),
        ("[agi]\nallow = ['nowhere']", "agi.allow: "),
        ("currency = 'dollars'", "currency: "),
        ("[agi]\nport = 'x'", "agi.port: "),
        ("[trunks.main]\ndial = 'PJSIP/{number}@main'", "trunks.main.deck: "),
        ("[trunks.main]\ndeck = 'a'\ndial = 'PJSIP/x'", "must hold {number} once"),
        ("[trunks.main]\ndeck = 'a'\ndial = 'PJSIP/{number}@a&PJSIP/b'", "must hold {number} once"),
        ("[trunks.'a b']\ndeck = 'a'", "trunks.a b"),
        ("[policy]\nshadow = ['bad_number']", "policy.shadow.0: "),
        ("[strict]\nhour = []", "strict.hour: unknown key (did you mean strict.hours?)"),
        ("[strict]\nlimit = 'low'", "strict.limit: "),
        ("[strict]\nask = ['emergency']", "strict.ask.0: "),
        ("[tenants.acme.strict]\nholiday = true", "(did you mean tenants.acme.strict.holidays?)"),
        ("not toml", "is not valid TOML"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_the_file(write, text, expected):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_all_wrong_keys_are_named_in_one_go(write):
    with pytest.raises(ConfigError) as caught:
        load(write("[agi]\nprot = 1\nhots = 'x'"))
    assert "agi.prot" in str(caught.value)
    assert "agi.hots" in str(caught.value)


def test_a_missing_or_unreadable_file_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="fraudguard init"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'currency = "\xe9"')
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "latin.toml")


def test_the_environment_outranks_the_file(write, monkeypatch):
    monkeypatch.setenv("FRAUDGUARD_AGI__PORT", "4000")
    assert load(write("[agi]\nport = 5000\nhost = '127.0.0.2'")).agi.port == 4000
    assert load(write("[agi]\nport = 5000\nhost = '127.0.0.2'")).agi.host == "127.0.0.2"


def test_a_wrong_variable_is_blamed_on_the_variable(write, monkeypatch):
    monkeypatch.setenv("FRAUDGUARD_AGI__PORT", "many")
    with pytest.raises(ConfigError, match=r"agi\.port: .*found 'many' in \$FRAUDGUARD_AGI__PORT"):
        load(write("[agi]\nport = 5000"))


def test_no_variable_moves_the_file(write, monkeypatch):
    monkeypatch.setenv("FRAUDGUARD_PATH", "/elsewhere/x.toml")
    path = write("")
    assert load(path).path == path


def test_the_file_is_found_by_option_then_environment_then_here(monkeypatch):
    monkeypatch.delenv("FRAUDGUARD_CONFIG", raising=False)
    assert locate(None) == Path("fraudguard.toml")
    monkeypatch.setenv("FRAUDGUARD_CONFIG", "/etc/fraudguard.toml")
    assert locate(None) == Path("/etc/fraudguard.toml")
    assert locate(Path("x.toml")) == Path("x.toml")


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Settings().currency = "EUR"


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "fraudguard.toml"
    path.write_bytes(b"\xef\xbb\xbfcurrency = 'EUR'\n")
    assert load(path).currency == "EUR"


def test_a_variable_that_should_be_json_is_named(write, monkeypatch):
    monkeypatch.setenv("FRAUDGUARD_TRUNKS", "notjson")
    with pytest.raises(ConfigError, match="trunks"):
        load(write(""))


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("[ami.a]\nsecret = 4711999", {}),
        ('[ami.a]\nsecret = "4711999"\nsecret_file = "x"', {}),
        ('[ami]\na = "4711999"', {}),
        ('[ami.a]\nsecret_file = "x"', {"FRAUDGUARD_AMI__A__SECRET": "4711999"}),
        ("", {"FRAUDGUARD_AMI": '"4711999"'}),
        ("", {"FRAUDGUARD_AMI__A": '"4711999"'}),
        ('[alerts.channels.c]\ntype = "webhook"\nurl = "htps://hooks.example/4711999"', {}),
        ('[alerts.channels.c]\ntype = "webhook"\nurl = "https://hooks.example/4711999"\nurl_file = "x"', {}),
        ('[alerts.channels.c]\nurl = "https://hooks.example/4711999"', {}),
        ('[alerts.channels.c]\ntype = "slack"\nurl = "https://hooks.example/4711999"', {}),
    ],
)
def test_what_is_wrong_is_told_without_the_secret(write, monkeypatch, text, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load(write(text))
    assert "4711999" not in str(caught.value)
    assert "4711999" not in repr(caught.value)
