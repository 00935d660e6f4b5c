"""Following each Asterisk over AMI: the connection, its events, and what is asked of it."""
