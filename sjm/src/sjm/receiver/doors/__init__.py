"""The ways by which notifications come in. Each is imported when it is used."""
