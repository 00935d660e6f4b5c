"""Delivering alerts: the outbox, who gets what, and the channels."""
