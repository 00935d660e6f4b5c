"""The words of price lists: headers, currencies, and what stands in a cell that holds no price."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

from fraudguard.decks.records import Role


def _phrases(*texts: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for text in texts for phrase in text.split(","))


HEADERS: tuple[tuple[Role | None, tuple[str, ...]], ...] = (
    (
        None,  # columns that would be mistaken for something else
        _phrases(
            "end date, expiry, expires, expiry date, valid to, valid until, date to, created, modified, created date",
            "modified date, last modified, rate type, rate plan, rate id, rate name, price list, rate unit, rate table",
            "rate change, price change, change, difference, iso, iso code, alpha, zone code, operator code, rate code",
            "product code, carrier code, trunk code, mcc, mnc, mccmnc, plmn, grace time, max cost, minimum charge",
            "minimum fee, minimum price, min price, gueltig bis, gultig bis, rounding method, rounding decimals",
        ),
    ),
    (Role.CURRENCY, _phrases("currency, wahrung, waehrung, moneda, devise, valuta, moeda")),
    (
        Role.CONNECT_FEE,
        _phrases(
            "connect fee, connection fee, connection cost, connection charge, connect charge, connect cost, setup",
            "connection price, set up fee, call setup, per call, flag fall, flagfall, connectfee, call surcharge",
            "verbindungsentgelt, einmalgebuhr, costo de conexion, frais de connexion, scatto alla risposta",
            "taxa de conexao, connection",
        ),
    ),
    (Role.SURCHARGE, _phrases("surcharge, zuschlag, recargo, supplement, sovrapprezzo, sobretaxa")),
    (
        Role.EFFECTIVE,
        _phrases(
            "effective, effective date, effective from, valid from, start date, from date, date from, begin date",
            "gultig ab, gueltig ab, fecha, vigencia, date d effet, data inicio, data de inicio, activation, decorrenza",
            "valido desde, valable a partir, date",
        ),
    ),
    (
        Role.MINIMUM,
        _phrases(
            "minimum, min duration, min time, min seconds, min length, initial increment, first increment, initial",
            "first interval, interval 1, mindestdauer, minimo, duree minimale, durata minima",
        ),
    ),
    (
        Role.INCREMENT,
        _phrases(
            "increment, increments, billing, charge period, interval n, next interval, interval, taktung, takt",
            "rounding, pulse, incremento, incremento de facturacion, step, granularity, palier",
        ),
    ),
    (Role.BLOCKED, _phrases("blocked, is blocked, barred, gesperrt, bloqueado, bloque, bloccato, closed")),
    (Role.OFFERED, _phrases("offered, available, enabled, active, open, freigeschaltet, disponible")),
    (Role.STATUS, _phrases("status, statut")),
    (
        Role.OLD_PRICE,
        _phrases(
            "old rate, old price, current rate, current price, previous rate, previous price, present rate",
            "existing rate, alter preis, precio anterior, ancien prix, prezzo precedente",
        ),
    ),
    (
        Role.COUNTRY_CODE,
        _phrases(
            "country code, cc, country dial code, country prefix, landervorwahl, landesvorwahl, codigo de pais",
            "codigo pais, indicatif pays, prefisso paese, npa",
        ),
    ),
    (
        Role.AREA_CODE,
        _phrases(
            "area code, area codes, city code, city codes, nxx, ndc, ortsvorwahl, codigo de area, codigo de ciudad"
        ),
    ),
    (
        Role.PREFIX,
        _phrases(
            "prefix, prefixes, dial code, dial codes, dialcode, dialing code, dialling code, code, codes, number range",
            "digits, npanxx, npa nxx, vorwahl, prafix, praefix, prefijo, prefisso, prefixo, prefixe, indicatif, codigo",
            "codice, breakouts, e164, e 164",
        ),
    ),
    (
        Role.PRICE,
        _phrases(
            "rate, rates, price, prices, cost, tariff, charge, per minute, per min, preis, minutenpreis, tarif, tarife",
            "tarifa, precio, prix, prezzo, preco, costo, coste, cout, kosten, tariffa, interstate, intrastate, inter",
            "indeterminate, intra, peak, off peak, offpeak, weekend, amount, usd, eur, gbp, cents, cent",
        ),
    ),
    (
        Role.DESTINATION,  # the best first: a list may have several
        _phrases(
            "destination, destino, ziel, zielname, destinazione, target pattern name, description, beschreibung",
            "descripcion, descricao, descrizione, zone, zona, location, region, name, nombre, nome, nom, country, land",
            "pais, pays, paese, operator, network",
        ),
    ),
)
"""Header phrases by role, accents taken off. Order matters: the first phrase found decides what a column is."""

NANP_HEADERS = frozenset(_phrases("npanxx, npa nxx, nxx"))

SUBUNITS = frozenset(_phrases("cent, cents, ct, cts, pence, centimes, centavos"))

SUBUNIT = Decimal("0.01")

NO_PRICE = frozenset(
    _phrases(
        "-, --, ---, n/a, na, n.a., none, null, nil, tba, tbd, tbc, ?, x, closed, blocked, barred, unavailable",
        "not offered, not available, no service, no route, on request, \u2013, \u2014",
    )
) | {""}
"""What stands in a cell when there is no price, in lower case."""

NO_DATE = NO_PRICE | frozenset(_phrases("immediate, immediately, now, current, asap"))

YES = frozenset(_phrases("y, yes, true, t, 1, on, ja, j, oui, o, si, s\u00ed, s, sim, da, tak"))
NO = frozenset(_phrases("n, no, false, f, 0, off, nein, non, nao, n\u00e3o, nie, -")) | {""}
OPEN = frozenset(_phrases("open, active, unblocked, enabled"))
CLOSED = frozenset(_phrases("x, closed, blocked, barred, inactive, disabled"))

CATCH_ALL = frozenset(_phrases("0, *, any, all, default, other, others, rest, catch-all, catchall"))

CURRENCIES = frozenset(
    _phrases(
        "USD, EUR, GBP, CHF, CAD, AUD, NZD, JPY, CNY, HKD, SGD, INR, BRL, MXN, ZAR, SEK, NOK, DKK, PLN, CZK, HUF, RON",
        "BGN, TRY, RUB, UAH, AED, SAR, ILS, EGP, NGN, KES, MAD, TND, ARS, CLP, COP, PEN, UYU, PHP, IDR, MYR, THB, VND",
        "KRW, TWD, PKR, BDT, LKR, QAR, KWD, BHD, OMR, JOD, ISK, XOF, XAF",
    )
)

SYMBOLS: dict[str, frozenset[str]] = {
    "US$": frozenset({"USD"}),
    "$": frozenset(_phrases("USD, CAD, AUD, NZD, HKD, SGD, MXN, ARS, CLP, COP, TWD, UYU, BRL")),
    "\u20ac": frozenset({"EUR"}),
    "\u00a3": frozenset({"GBP", "EGP"}),
    "\u00a5": frozenset({"JPY", "CNY"}),
    "\u20b9": frozenset({"INR"}),
    "\u20bd": frozenset({"RUB"}),
}

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NOT_WORD = re.compile(r"[\W_]+")


def header_words(text: str) -> str:
    """Bring a header into the form of the phrases: 'Connection Cost (USD)' -> 'connection cost usd'."""
    decomposed = unicodedata.normalize("NFKD", _CAMEL.sub(" ", text[:200])).casefold()
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _NOT_WORD.sub(" ", plain).strip()


def header_role(text: str) -> tuple[Role | None, int]:
    """Return what a column with this header holds, and how well the phrase names it (0 is best)."""
    words = f" {header_words(text)} "
    for role, phrases in HEADERS:
        for rank, phrase in enumerate(phrases):
            if f" {phrase} " in words:
                return role, rank
    return None, 0


def currencies_in(text: str) -> frozenset[str]:
    """Return the currencies a text may be speaking of; empty when it names none."""
    for word in _NOT_WORD.split(text):
        if word in CURRENCIES:
            return frozenset({word})
    for symbol, meant in SYMBOLS.items():
        if symbol in text:
            return meant
    return frozenset()
