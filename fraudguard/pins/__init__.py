"""PINs: digits that nobody sees, the vault that seals them, authenticator codes, and how often one may guess."""
