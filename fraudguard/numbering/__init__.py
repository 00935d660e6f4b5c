"""Dialled digits to Number. Pure: no I/O, no clock, nothing dialled raises."""

from fraudguard.numbering.normaliser import HomePlan, Normaliser
from fraudguard.numbering.number import BadNumber, Kind, Number

__all__ = ["BadNumber", "HomePlan", "Kind", "Normaliser", "Number"]
