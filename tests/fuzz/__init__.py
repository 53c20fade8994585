"""Bad input by the million: valid messages, damaged field by field, sent to real processes on every line."""
