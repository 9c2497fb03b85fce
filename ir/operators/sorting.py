"""Operators that order or scan elements along an axis."""
