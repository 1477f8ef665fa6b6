"""The tables of a stage, as terraform/tables.tf has them."""

import re
from functools import cache
from typing import Any

from tests.stand_ins.dynamodb import Index, Table
from tests.unit.terraform.blocks import TERRAFORM, Block, blocks


def tables() -> list[Table]:
    """New tables, which are empty. Their names have no prefix."""
    return [Table(**definition) for definition in _definitions()]


@cache
def _definitions() -> list[dict[str, Any]]:
    return [
        _definition(block)
        for block in blocks("resource", under=TERRAFORM, deep=False)
        if block.labels[0] == "aws_dynamodb_table"
    ]


def _definition(block: Block) -> dict[str, Any]:
    own_arguments = block.body.partition(" {\n")[0]
    return {
        "name": block.labels[1],
        "key": _key(own_arguments),
        "indexes": {
            _words("name", each)[0]: Index(_key(each), _held(each))
            for each in block.inner("global_secondary_index")
        },
        "numbers": frozenset(
            _words("name", each)[0] for each in block.inner("attribute") if _words("type", each) == ("N",)
        ),
    }


def _key(body: str) -> tuple[str, ...]:
    return (*_words("hash_key", body), *_words("range_key", body))


def _held(body: str) -> tuple[str, ...]:
    """The attributes that an index holds beside the keys."""
    (projection,) = _words("projection_type", body)
    assert projection in ("KEYS_ONLY", "INCLUDE"), projection
    return _words("non_key_attributes", body)


def _words(argument: str, body: str) -> tuple[str, ...]:
    """The quoted words of an argument, the first of this name; none if it is not there."""
    line = re.search(rf"^ +{argument} += (.*)$", body, re.MULTILINE)
    return tuple(re.findall(r'"([^"]*)"', line[1])) if line else ()
