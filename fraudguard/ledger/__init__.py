"""Live calls: what each is, what it has cost so far, and which of them nobody allowed. A pure state machine."""

from fraudguard.ledger.ledger import Ledger
from fraudguard.ledger.records import Admission, Call, Changes, Leg, State, Why, admission_of

__all__ = ["Admission", "Call", "Changes", "Ledger", "Leg", "State", "Why", "admission_of"]
