"""The generated dialplan: rendered from the settings, installed, read back. `names` holds every wire name, once."""
