"""Reads the saved queries in terraform/queries.tf, and the log groups that they search."""

import re
from dataclasses import dataclass

from tests.unit.terraform.blocks import TERRAFORM, blocks, local_map

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
_WORDS = {"filter", "fields", "sort", "limit", "stats", "by", "as", "and", "or", "in", "like", "asc", "desc"}
_WORDS |= {"count", "count_distinct", "max", "pct", "bin"}


@dataclass(frozen=True)
class SavedQuery:
    """One query. ``log_groups``: the expression in Terraform."""

    name: str
    text: str
    log_groups: str

    @property
    def fields(self) -> set[str]:
        """The fields that the query names, without those that it defines itself."""
        bare = re.sub(r'"[^"]*"|/.*?/', "", self.text)
        made = set(re.findall(r" as (\w+)", bare))
        return set(re.findall(r"(?<!\d)@?[A-Za-z]\w*", bare)) - _WORDS - made

    @property
    def messages(self) -> set[str]:
        """The log messages that the query selects. Empty if it selects by something else."""
        conditions = re.findall(r"message (?:= |in )(\[[^]]*\]|\"[^\"]*\")", self.text)
        return {message for condition in conditions for message in re.findall(r'"([^"]+)"', condition)}


def _all() -> dict[str, SavedQuery]:
    (block,) = (b for b in blocks("locals", under=TERRAFORM, deep=False) if b.file.name == "queries.tf")
    found = re.findall(
        r'^    "([^"]+)" = \{\n +log_groups = (.*?)\n +query += <<-EOT\n(.*?)^ +EOT\n    \}',
        local_map("queries", block.body),
        re.M | re.S,
    )
    return {name: SavedQuery(name, text, groups) for name, groups, text in found}


QUERIES = _all()
