"""A real Asterisk with SIPp phones and carriers, and the guards it asks: what tests/asterisk stands on."""
