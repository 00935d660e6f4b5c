"""Asking a caller for a PIN, by a keypad and records behind ports: prompts, tries, guesses counted, money held."""
