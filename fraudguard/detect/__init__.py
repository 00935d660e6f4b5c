"""What is out of the ordinary. Pure."""
