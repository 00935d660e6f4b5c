"""A real Asterisk with SIPp phones and carriers, and the guards it asks: what the tests of this folder stand on."""
