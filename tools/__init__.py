"""Builds and checks the project, and operates its stages."""
