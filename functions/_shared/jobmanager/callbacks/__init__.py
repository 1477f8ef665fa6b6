"""Callbacks: their tokens, their bodies, and what each of them does."""
