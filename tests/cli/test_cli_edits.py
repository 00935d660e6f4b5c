import pytest


def test_the_limit_is_the_default_until_set(fraudguard):
    assert fraudguard("limit", "list", "--json").json == [
        {"tenant": None, "account": None, "per_minute": "0.25", "currency": "USD"}
    ]
    fraudguard("limit", "set", "0.5")
    fraudguard("limit", "set", "0.1", "--account", "204")
    limits = fraudguard("limit", "list", "--json").json
    assert [(entry["account"], entry["per_minute"]) for entry in limits] == [(None, "0.50"), ("204", "0.10")]
    fraudguard("limit", "remove", "--account", "204")
    assert "account 204" not in fraudguard("limit", "list").out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["limit", "set", "abc"], "AMOUNT: 'abc' is not an amount"),
        (["limit", "set", "--", "-1"], "AMOUNT: '-1' is negative"),
        (["limit", "set", "0.1", "--tenant", "acmee"], "--tenant: unknown tenant 'acmee'"),
        (["limit", "set", "0.1", "--account", ""], "--account: '' is no account"),
        (["limit", "set", "0.1", "--account", "\x1b[2J"], "is no account"),
        (["limit", "set", "0.1", "--account", "\udcff"], "is no account"),
        (["block", "add", "--account", "a" * 161], "is no account"),
        (["grant", "remove", "9" * 30], "is not in the range"),
        (["limit", "remove", "--account", "204"], "there is no limit for account 204 of tenant default"),
        (["grant", "add"], "switch the limit off"),
        (["grant", "add", "0053"], "is not an E.164 prefix"),
        (["grant", "add", "+"], "is not an E.164 prefix"),
        (["grant", "add", "+53x"], "is not an E.164 prefix"),
        (["grant", "add", "+53", "--max-price", "dear"], "--max-price: 'dear' is not an amount"),
        (["grant", "add", "+53", "--until", "2020-01-01"], "--until: '2020-01-01' is in the past"),
        (["grant", "add", "+53", "--until", "soon"], "--until: 'soon' is not a time"),
        (["grant", "remove", "9"], "there is no grant 9"),
        (["block", "add"], "refuse every call of everybody"),
        (["block", "add", "--source", "nowhere"], "--source: 'nowhere' is not an address or network"),
        (["block", "add", "--source", "0.0.0.0/0"], "is every address there is"),
        (["block", "remove", "9"], "there is no block 9"),
        (["alerts", "ack", "9"], "there is no open alert 9"),
    ],
)
def test_wrong_input_is_named_with_a_way_out(fraudguard, arguments, what):
    result = fraudguard(*arguments, status=2)
    assert what in result.err
    assert "(" in result.err, "the way out"
    assert result.out == ""


@pytest.mark.parametrize("arguments", [["limit", "set"], ["nonsense"], ["grant", "remove", "x"], ["--nonsense"]])
def test_wrong_usage_ends_with_2(fraudguard, arguments):
    assert fraudguard(*arguments, status=2).err


def test_a_grant_permits_and_its_removal_refuses_again(fraudguard):
    assert fraudguard("check", "0115355512345", "--trunk", "carrier", status=1)
    added = fraudguard("grant", "add", "+53", "--max-price", "0.80", "--account", "204", "--reason", "family")
    assert added.out == "grant 1: +53 up to 0.80 USD (account 204 of tenant default); no PIN is asked for\n"
    assert fraudguard("check", "0115355512345", "--trunk", "carrier", "--account", "204", status=0)
    assert fraudguard("check", "0115355512345", "--trunk", "carrier", "--account", "205", status=1)
    (document,) = fraudguard("grant", "list", "--json").json
    assert (document["prefix"], document["max_price"], document["expired"]) == ("53", "0.80", False)
    assert "family" in fraudguard("grant", "list").out
    fraudguard("grant", "remove", "1")
    assert fraudguard("check", "0115355512345", "--trunk", "carrier", "--account", "204", status=1)
    assert fraudguard("grant", "list").out == "none\n"


def test_a_grant_spares_the_pin_unless_it_says_otherwise(fraudguard):
    call = ("check", "011442079460000", "--trunk", "carrier", "--account", "fax1")
    assert fraudguard(*call, "--json", status=1).json["reason"] == "pin_required"
    added = fraudguard("grant", "add", "+44207946", "--account", "fax1", "--ask-pin", "--until", "2090-01-01")
    assert added.out.endswith(", until 2090-01-01T00:00:00+00:00; a PIN is asked for as ever\n")
    assert fraudguard(*call, "--json", status=1).json["reason"] == "pin_required"
    fraudguard("grant", "remove", "1")
    fraudguard("grant", "add", "+44207946", "--account", "fax1")
    fraudguard("grant", "add", "+53", "--ask-pin")
    fraudguard(*call)
    assert [entry["asks_pin"] for entry in fraudguard("grant", "list", "--json").json] == [False, True]
    heading, fax, cuba = fraudguard("grant", "list").out.splitlines()
    assert "asks PIN" in heading
    assert (" no " in fax, " yes " in cuba) == (True, True)
    fraudguard("block", "add", "+882")
    assert "asks_pin" not in fraudguard("block", "list", "--json").json[0]


def test_alerts_without_a_verb_lists_them(fraudguard):
    assert fraudguard("alerts").out == fraudguard("alerts", "list").out == "no open alerts\n"


def test_a_block_refuses_and_its_removal_permits_again(fraudguard):
    call = ("check", "12125550100", "--trunk", "carrier", "--source", "198.51.100.7:5060")
    fraudguard(*call)
    added = fraudguard("block", "add", "+1", "--source", "198.51.100.0/24", "--until", "2090-01-01")
    assert added.out == "block 1: +1 from 198.51.100.0/24 (global), until 2090-01-01T00:00:00+00:00\n"
    assert "block 1" in fraudguard(*call, status=1).out
    (document,) = fraudguard("block", "list", "--json").json
    assert document["source"] == "198.51.100.0/24"
    fraudguard("block", "remove", "1")
    fraudguard(*call)
