"""Files that `fraudguard init` copies: the configuration template and the sample price list."""
