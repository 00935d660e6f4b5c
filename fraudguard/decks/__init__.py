"""Reading carriers' price lists, and comparing them."""

from fraudguard.decks.complaints import BadRowsError, Complaint
from fraudguard.decks.diff import Change, DeckDiff, PrefixChange, compare
from fraudguard.decks.files import Progress
from fraudguard.decks.reader import read_deck
from fraudguard.decks.records import ImportOptions, Layout, ParsedDeck, Role

__all__ = [
    "BadRowsError",
    "Change",
    "Complaint",
    "DeckDiff",
    "ImportOptions",
    "Layout",
    "ParsedDeck",
    "PrefixChange",
    "Progress",
    "Role",
    "compare",
    "read_deck",
]
