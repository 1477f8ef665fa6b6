"""Athena: its dialect of SQL, and the columns of a table."""

from collections.abc import Callable, Sequence
from typing import Any

from ministack.services import athena, firehose

from local.aws_behaviour.wrapping import around


def apply() -> None:
    """Corrects Athena, which the emulator runs on DuckDB."""
    translate_trino()
    take_columns_from_the_table()


def translate_trino() -> None:
    """AWS accepts only Trino's SQL; ministack passes each query to DuckDB unchanged.

    https://docs.aws.amazon.com/athena/latest/ug/ddl-sql-reference.html
    """

    @around(athena, "_run_duckdb")
    async def run_duckdb(original: Callable[..., Any], query: str, *arguments: Any) -> Any:
        import sqlglot

        (translated,) = sqlglot.transpile(query, read="athena", write="duckdb")
        return await original(translated, *arguments)


def take_columns_from_the_table() -> None:
    """On AWS, a table has the columns of its definition; in ministack, one of JSON has those of its files.

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
