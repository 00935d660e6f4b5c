import copy
import hashlib
import hmac
import pickle
import threading
import time
import traceback

import pytest
from argon2.exceptions import HashingError
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from fraudguard.errors import ConfigError
from fraudguard.pins.digits import Digits
from fraudguard.pins.vault import KIB, LANES, PASSES, PEPPER_BYTES, Key, Vault, make_pepper
from fraudguard.policy.pin import Scheme, Seal

PEPPER = bytes(range(32))
CHEAP = Scheme(b"salt" * 4, 1, 8, 1, b"")
SECRET = Digits("80417253")


@pytest.fixture
def vault():
    return Vault(PEPPER)


def test_a_pepper_is_new_each_time_and_read_as_it_was_written():
    text = make_pepper()
    assert len(bytes.fromhex(text)) == PEPPER_BYTES
    assert text != make_pepper()
    for same in (SecretStr(text), SecretStr(f"{text.upper()}\n"), bytes.fromhex(text)):
        assert Vault(same).seal(CHEAP, "acme", SECRET) == Vault(SecretStr(text)).seal(CHEAP, "acme", SECRET)


@pytest.mark.parametrize(
    "pepper",
    [SecretStr(""), SecretStr("zz" * 32), SecretStr("ab" * 31), SecretStr("abc"), SecretStr("é" * 64), b"", b"x" * 31],
)
def test_what_is_no_pepper_is_said_without_showing_it(pepper):
    with pytest.raises(ConfigError, match=r"^pin.toml: the pepper is not 64 hexadecimal digits \(restore") as caught:
        Vault(pepper, where="pin.toml")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    shown = pepper.get_secret_value() if isinstance(pepper, SecretStr) else pepper.decode()
    assert not shown or shown not in str(caught.value)


def failing(vault, digits):
    try:
        vault.seal(Scheme(b"", 0, 0, 0, b""), "acme", digits)
    except HashingError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def test_nothing_shows_a_secret(vault):
    key = vault.totp_key("acme", vault.new_totp())
    seal = vault.seal(CHEAP, "acme", SECRET)
    scheme = vault.new_scheme()
    secrets = [PEPPER.hex(), repr(PEPPER)[2:-1], str(PEPPER), key.base32(), SECRET.reveal()]
    secrets += [repr(value)[2:-1] for value in (seal.index, seal.proof, scheme.salt, scheme.mark)]
    shown = f"{vault} {vault!r} {key} {key!r} {seal!r} {seal} {scheme!r} {scheme}"
    shown += failing(vault, SECRET)
    assert "hash_secret_raw" in shown
    assert not [secret for secret in secrets if secret in shown]
    for each in (vault, key):
        assert not hasattr(each, "__dict__")
        for leave in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="is a secret"):
                leave(each)


def test_a_scheme_is_of_its_own_and_knows_its_pepper(vault):
    first, second = vault.new_scheme(), vault.new_scheme()
    assert (first.passes, first.kib, first.lanes) == (PASSES, KIB, LANES) == (2, 19_456, 1)
    assert first.salt != second.salt
    assert len(first.salt) == 16
    assert vault.fits(first)
    assert Vault(PEPPER).fits(second)
    assert not Vault(bytes(32)).fits(first)
    assert not vault.fits(CHEAP)


def test_a_seal_is_always_the_same_and_another_for_anything_else(vault):
    seal = vault.seal(CHEAP, "acme", SECRET)
    assert vault.seal(CHEAP, "acme", Digits(SECRET.reveal())) == seal
    assert (len(seal.index), len(seal.proof)) == (16, 32)
    others = [
        vault.seal(CHEAP, "acm", SECRET),
        vault.seal(CHEAP, "acme8", Digits(SECRET.reveal()[1:])),  # what is tenant and what is PIN is kept apart
        vault.seal(CHEAP, "acme", Digits("80417254")),
        vault.seal(CHEAP, "acme", Digits("\udcff*")),
        vault.seal(CHEAP, "\udcff", SECRET),
        vault.seal(Scheme(b"SALT" * 4, 1, 8, 1, b""), "acme", SECRET),
        vault.seal(Scheme(CHEAP.salt, 2, 8, 1, b""), "acme", SECRET),
        Vault(bytes(32)).seal(CHEAP, "acme", SECRET),
    ]
    everything = [seal, *others]
    assert len({each.index for each in everything}) == len({each.proof for each in everything}) == len(everything)
    assert [vault.same(seal, each) for each in everything] == [True] + [False] * len(others)


def test_a_seal_stays_what_it_is():
    """What is in databases: a change here makes every PIN worthless."""
    seal = Vault(PEPPER).seal(CHEAP, "acme", SECRET)
    assert (seal.index + seal.proof).hex() == (
        "f77516d19f1efa0fb166573c7e7ba7f059c8f4d7dcf5f72c775f866918016c2f2711ae2224dba9081b224df1e646e636"
    )
    key = Vault(PEPPER).totp_key("acme", Seal(b"i" * 16, b"n" * 16))
    made = hmac.new(PEPPER, b"totp\x004\0acme" + b"n" * 16, hashlib.sha256).digest()
    assert bytes.fromhex(key._octets.hex()) == made[:20]


@settings(max_examples=50, deadline=None)  # argon2 takes its time
@given(st.tuples(st.text(max_size=5), st.text(max_size=5)), st.tuples(st.text(max_size=5), st.text(max_size=5)))
def test_no_two_tenants_and_pins_are_taken_for_each_other(one, other):
    vault = Vault(PEPPER)
    seals = [vault.seal(CHEAP, tenant, Digits(digits)) for tenant, digits in (one, other)]
    assert vault.same(*seals) == (one == other)


def test_a_totp_key_is_made_and_not_stored(vault):
    seal = vault.new_totp()
    assert (len(seal.index), len(seal.proof)) == (16, 16)
    assert seal.index != vault.new_totp().index
    key = vault.totp_key("acme", seal)
    assert len(key.base32()) == 32
    assert vault.totp_key("acme", seal).base32() == key.base32()
    different = [
        vault.totp_key("other", seal),
        vault.totp_key("acme", vault.new_totp()),
        Vault(bytes(32)).totp_key("acme", seal),
        Key(seal.proof),
    ]
    assert key.base32() not in {each.base32() for each in different}


def test_the_interpreter_goes_on_while_a_pin_is_sealed(vault):
    scheme = Scheme(b"salt" * 4, 8, 65_536, 1, b"")  # long enough to see
    done = threading.Event()

    def seal():
        vault.seal(scheme, "acme", SECRET)
        done.set()

    thread = threading.Thread(target=seal)
    began = time.monotonic()
    thread.start()
    longest = last = 0.0
    while not done.is_set():
        now = time.monotonic()
        longest = max(longest, now - last if last else 0.0)
        last = now
    thread.join()
    assert longest < (time.monotonic() - began) / 2
