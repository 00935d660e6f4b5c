"""Live calls: what each is, what it has cost so far, and which of them nobody allowed. A pure state machine."""
