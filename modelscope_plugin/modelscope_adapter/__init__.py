"""The thin classes that ModelScope's registries hold, and how ModelScope finds them."""
