"""The code that the Lambda functions share. pyproject.toml lists which package may import which."""
