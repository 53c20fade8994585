"""What a client in any language must do: recorded exchanges, and a server with a script (README.md)."""
