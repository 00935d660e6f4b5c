"""Reading carriers' price lists, and comparing them."""

from fraudguard.decks.complaints import BadRowsError, Complaint
from fraudguard.decks.reader import read_deck
from fraudguard.decks.records import ImportOptions, Layout, ParsedDeck, Role

__all__ = ["BadRowsError", "Complaint", "ImportOptions", "Layout", "ParsedDeck", "Role", "read_deck"]
