"""Athena: which SQL it speaks, and what a table's columns are."""

from collections.abc import Callable, Sequence
from typing import Any

from ministack.services import athena, firehose

from local.aws_behaviour.wrapping import around


def apply() -> None:
    """Mends Athena, which answers by DuckDB."""
    speak_trino()
    take_columns_from_the_table()


def speak_trino() -> None:
    """AWS understands Trino's SQL, and nothing else; ministack gives DuckDB what it got.

    https://docs.aws.amazon.com/athena/latest/ug/ddl-sql-reference.html
    """

    @around(athena, "_run_duckdb")
    async def run_duckdb(original: Callable[..., Any], query: str, *arguments: Any) -> Any:
        import sqlglot

        (translated,) = sqlglot.transpile(query, read="athena", write="duckdb")
        return await original(translated, *arguments)


def take_columns_from_the_table() -> None:
    """On AWS a table has the columns that it is made with; in ministack a table of JSON, those of its files.

    https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    """

    @around(athena, "_table_relation")
    def table_relation(original: Callable[..., str], table: dict[str, Any], files: Sequence[str]) -> str:
        columns = (table.get("StorageDescriptor") or {}).get("Columns") or []
        if athena._data_format(table) != "json" or not columns:
            return original(table, files)
        types = ", ".join(f"'{c['Name']}': '{firehose._hive_to_duckdb_type(c['Type'])}'" for c in columns)
        hive = athena._hive_options(athena._path_partition_keys(table, files))
        listed = athena._sql_list(files)
        return f"read_json({listed}, columns = {{{types}}}, format = 'newline_delimited', {hive})"
