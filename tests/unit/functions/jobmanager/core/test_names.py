from jobmanager.core.names import (
    execution_id,
    guid_of_execution,
    job_guid,
    name_errors,
    stamp_of_execution,
    suffix_of_execution,
)

NOON_MS = 1_795_435_200_000


def test_the_guid_of_a_job_never_changes() -> None:
    assert job_guid("billing", "nightly") == "97ccbb7a-914a-5409-98cd-d98d54e957ae"


def test_an_execution_id_names_its_partition_and_its_time() -> None:
    guid = job_guid("billing", "nightly")
    identifier = execution_id(guid, NOON_MS)
    assert identifier == f"{guid}-20261123T120000Z"
    assert guid_of_execution(identifier) == guid
    assert guid_of_execution(execution_id(guid, NOON_MS, "byhand")) == guid
    assert stamp_of_execution(identifier) == "20261123T120000Z"
    assert suffix_of_execution(identifier) == ""
    assert suffix_of_execution(execution_id(guid, NOON_MS, "byhand")) == "byhand"


def test_an_execution_id_fits_step_functions() -> None:
    assert len(execution_id(job_guid("s" * 64, "j" * 64), NOON_MS, "x" * 24)) <= 80


def test_a_text_that_is_not_an_execution_id_has_no_guid() -> None:
    for text in ("", "x", "../etc", "a" * 200, "d0c9be6e-f1fd-50d1-a8b4-4f6d3e2d9ce0"):
        assert guid_of_execution(text) is None


def test_names_contain_only_characters_that_urls_and_aws_names_allow() -> None:
    assert name_errors("a.b_c-D9", "x" * 64) == []
    for bad in ("", "x" * 65, "a/b", "a b", "ü", "a#b", "a\n"):
        assert [error["pointer"] for error in name_errors(bad, "ok")] == ["/service_name"]
        assert [error["pointer"] for error in name_errors("ok", bad)] == ["/job_name"]


def test_a_name_is_none_of_the_segments_that_clients_remove_from_a_path() -> None:
    for bad in (".", ".."):
        assert [error["pointer"] for error in name_errors(bad, "ok")] == ["/service_name"]
        assert [error["pointer"] for error in name_errors("ok", bad)] == ["/job_name"]
    for good in ("...", ".a", "a.", "..a"):
        assert name_errors(good, good) == []


def test_no_two_jobs_can_have_the_same_guid() -> None:
    assert job_guid("a", "b--c") == job_guid("a--b", "c")
    for service in ("a--b", "a-", "--", "a--"):
        assert [error["pointer"] for error in name_errors(service, "c")] == ["/service_name"]
    assert name_errors("-a-b", "--c-") == []
