"""Decks, longest prefix, price of n seconds. Pure."""

from fraudguard.rating.deck import Deck, in_force
from fraudguard.rating.prefixes import PrefixTable
from fraudguard.rating.rate import Rate, billed_seconds, cost

__all__ = ["Deck", "PrefixTable", "Rate", "billed_seconds", "cost", "in_force"]
