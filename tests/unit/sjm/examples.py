"""The examples of the pages on the client: docs/client.md, and the README of the package."""

import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
PAGE = (_ROOT / "docs" / "client.md").read_text()
_README = (_ROOT / "sjm" / "README.md").read_text()
EXAMPLES = [
    text
    for page in (PAGE, _README)
    for text in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    if "sjm.receiver" not in text  # see test_receiver_docs.py
]
