"""Readers: what each kind of file offers, as a table of columns."""
