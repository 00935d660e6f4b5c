import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.pins import totp
from fraudguard.pins.digits import Digits
from fraudguard.pins.vault import Key

RFC = Key(b"12345678901234567890")
"""The key of RFC 6238's test vectors."""


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ],
)
def test_codes_are_those_of_the_standard(seconds, code):
    assert totp.matching_step(RFC, Digits(code), seconds * 1000) == seconds // 30


NOW = 1_800_000_015_000
STEP = NOW // 30_000


@pytest.mark.parametrize(("offset", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_the_code_before_and_the_one_after_are_good_too(offset, good):
    code = pyotp.TOTP(RFC.base32()).generate_otp(STEP + offset)
    for moment in (STEP * 30_000, NOW, STEP * 30_000 + 29_999):
        assert totp.matching_step(RFC, Digits(code), moment) == (STEP + offset if good else None)


@given(st.text(st.characters(codec=None), max_size=8))
def test_nothing_else_is(text):
    near = {pyotp.TOTP(RFC.base32()).generate_otp(STEP + offset) for offset in (-1, 0, 1)}
    assert (totp.matching_step(RFC, Digits(text), NOW) is not None) == (text in near)


def test_every_step_is_looked_at_and_of_two_the_later_counts(monkeypatch):
    compared = []

    def compare(a, b):
        compared.append(a)
        return a == b

    monkeypatch.setattr(totp.hmac, "compare_digest", compare)
    monkeypatch.setattr(totp.pyotp.TOTP, "generate_otp", lambda _, step: "000000" if step < STEP + 1 else "111111")
    assert totp.matching_step(RFC, Digits("000000"), NOW) == STEP
    assert len(compared) == 3


def test_what_an_app_reads():
    for tenant, label in (("acme", "Anna%20Lee%20%28acme%29"), ("default", "Anna%20Lee")):
        text = totp.uri(RFC, name="Anna Lee", tenant=tenant)
        assert text == f"otpauth://totp/fraudguard:{label}?secret={RFC.base32()}&issuer=fraudguard"
        read = pyotp.parse_uri(text)
        assert read.now() == pyotp.TOTP(RFC.base32()).now()
    assert "issuer=Office" in totp.uri(RFC, name="a", tenant="t", issuer="Office")
    assert "%3A" in totp.uri(RFC, name="a:b&secret=x", tenant="default").partition("?")[0]


def test_a_qr_code_fits_a_terminal():
    drawn = totp.qr(totp.uri(RFC, name="Anna Lee", tenant="acme"))
    lines = drawn.splitlines()
    assert 20 < len(lines) <= 40
    assert RFC.base32() not in drawn
    assert not drawn.isascii()
