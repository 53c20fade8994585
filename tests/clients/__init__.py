"""Clients in other languages, as their users install them."""
