"""Reads jobs.yaml, and says what is wrong with it, and where."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sjm.review import jobs_file
from sjm.review.jobs_file import WrongFile, read_jobs, twice

GOOD = """\
jobs:
  billing/nightly:
    schedule: cron(0 2 * * ? *)
    invocation_type: http
    invocation_target: https://billing.example/jobs/nightly
"""


def jobs(text: str) -> dict[str, dict[str, Any]]:
    return {job.key: job.job for job in read_jobs(text.encode(), "jobs.yaml")}


def errors(text: str | bytes) -> list[str]:
    with pytest.raises(WrongFile) as raised:
        read_jobs(text if isinstance(text, bytes) else text.encode(), "jobs.yaml")
    return str(raised.value).splitlines()


def with_field(line: str) -> str:
    return f"{GOOD}    {line}\n"


def test_a_job_has_its_name_and_its_fields() -> None:
    [job] = read_jobs(GOOD.encode(), "jobs.yaml")

    assert (job.service_name, job.job_name, job.line) == ("billing", "nightly", 2)
    assert job.job == {
        "schedule": "cron(0 2 * * ? *)",
        "invocation_type": "http",
        "invocation_target": "https://billing.example/jobs/nightly",
    }
    assert str(job.error("/schedule", "no")) == "jobs.yaml:3: billing/nightly: /schedule: no"
    assert str(job.error("", "no")) == "jobs.yaml:2: billing/nightly: /: no"


@pytest.mark.parametrize(
    ("written", "payload"),
    [
        ("payload: '{\"a\": 1}'", '{"a": 1}'),
        ("payload: {b: 1, a: [1.5, true, null, x]}", '{"a":[1.5,true,null,"x"],"b":1}'),
        (
            "payload: [on, 2026-11-29, 12:30, 007, 0x1F, 1_000]",
            '["on","2026-11-29","12:30","007","0x1F","1_000"]',
        ),
        ("payload: {n: 123456789012345678901234567890}", '{"n":123456789012345678901234567890}'),
        (r'payload: {a: "\ud83d\ude00"}', '{"a":"😀"}'),
        ("payload: {on: ä}", '{"on":"ä"}'),
    ],
)
def test_a_payload_may_be_an_object_or_a_list_and_becomes_json(written: str, payload: str) -> None:
    assert jobs(with_field(written))["billing/nightly"]["payload"] == payload


def test_on_is_a_name_as_any_other() -> None:
    read = jobs(with_field("retry: {max_attempts: 2, on: [timeout]}"))

    assert read["billing/nightly"]["retry"] == {"max_attempts": 2, "on": ["timeout"]}


def test_anchors_and_merges_save_repetition_and_own_fields_win() -> None:
    text = GOOD.replace("nightly:\n", "nightly: &base\n") + (
        "  billing/weekly:\n    <<: *base\n    schedule: cron(0 2 ? * SUN *)\n    exclusive: true\n"
        "  billing/both:\n    <<: [{owner: ann, exclusive: false}, *base, {owner: bob}]\n"
    )

    read = jobs(text)
    assert read["billing/weekly"]["schedule"] == "cron(0 2 ? * SUN *)"
    assert read["billing/weekly"]["invocation_type"] == "http"
    assert read["billing/both"]["owner"] == "ann"


def test_documents_and_a_byte_order_mark_are_read() -> None:
    text = f"---\n{GOOD}---\n---\n{GOOD.replace('nightly', 'weekly')}"

    assert list(jobs(f"\ufeff{text}")) == ["billing/nightly", "billing/weekly"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "exclusive: yes",
            'jobs.yaml:6: billing/nightly: /exclusive: expected true or false, not "yes"; yes is a text',
        ),
        ("enabled: 1", "/enabled: expected true or false, not 1"),
        (
            "owner: 4711",
            '/owner: expected a text of 1 to 256 characters, not 4711; a text needs quotes here: "4711"',
        ),
        ("owner: true", '; a text needs quotes here: "true"'),
        ("owner:", "not null; to have the default, leave the field out"),
        ("ttl_seconds: '300'", '/ttl_seconds: expected a whole number from 10 to 43200, not "300"'),
        ("ttl_seconds: 0300", '/ttl_seconds: expected a whole number from 10 to 43200, not "0300"'),
        (
            "ttl_secs: 300",
            "jobs.yaml:6: billing/nightly: /ttl_secs: unknown field: expected one of schedule, ",
        ),
        ("retry: {max_attempts: 2, when: x}", "/retry/when: unknown field: expected one of max_attempts, "),
        (
            "retry: 3",
            "/retry: expected an object with max_attempts, interval_seconds, backoff_rate, on, not 3",
        ),
        ("schedule: rate(1 day)", 'billing/nightly: "schedule" is there twice, first in line 3'),
        ("payload: {a: 1, a: 2}", '"a" is there twice'),
        ("payload: {a: 1e999}", "1e999 is too large for a number"),
        ("payload: !!python/object/apply:os.system [ls]", "expected a plain value, not one with the tag"),
        ("payload: !!binary aGk=", 'not one with the tag "tag:yaml.org,2002:binary"'),
        ("payload: {[1]: 2}", "expected a name, not a list or an object"),
        (r'owner: "\ud83d"', "expected characters, not half of a surrogate pair"),
        ("tags: {team: 7}", "/tags: expected at most 50 names of 1 to 128 characters"),
    ],
)
def test_a_wrong_field_is_named_with_its_line_and_what_was_expected(line: str, error: str) -> None:
    [found] = errors(with_field(line))

    assert found.startswith("jobs.yaml:6: ")
    assert error in found


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "jobs.yaml: no job found: expected jobs, with names such as billing/nightly"),
        ("jobs: {}", "jobs.yaml: no job found"),
        ("[]", "jobs.yaml:1: the file: expected names with values"),
        ("jobs: [a]", "jobs.yaml:1: jobs: expected names with values"),
        ("services: {}\njobs: {}", 'jobs.yaml:1: unknown field "services": expected jobs'),
        ("jobs: {nightly: {}}", 'jobs.yaml:1: "nightly" is not a job: expected SERVICE/JOB'),
        ("jobs: {2024: {}}", '"2024" is not a job'),
        ("jobs: {a--b/c: {}}", '"a--b/c" is not a job'),
        ("jobs: {a-/c: {}}", '"a-/c" is not a job'),
        ("jobs: {a/..: {}}", '"a/.." is not a job'),
        ("jobs: {a/b: 1}", "jobs.yaml:1: a/b: expected names with values"),
        ("jobs: {a/b: {}}", "a/b: /schedule: this field is required"),
        ("jobs:\n  a: [", "jobs.yaml:2: not valid YAML: "),
        ("jobs:\n\ta: 1", "jobs.yaml:2: not valid YAML: "),
        ("a: \x07", "jobs.yaml:1: not valid YAML: unacceptable character"),
        (b"a: b\n\xff", "jobs.yaml:2: expected UTF-8"),
        ("[" * 100_000, "jobs.yaml:1: expected at most 40 levels"),
        ("jobs: &a {a/b: {payload: *a}}", "an alias leads to itself"),
        ("jobs: {a/b: &a {<<: *a}}", "an alias leads to itself"),
        ("jobs: *a", "jobs.yaml:1: not valid YAML: found undefined alias"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(text: str | bytes, error: str) -> None:
    assert error in errors(text)[0]


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = "".join(f"  a/b{number}: {{owner: 1}}\n" for number in range(3))

    assert [line.split(":")[1] for line in errors(f"jobs:\n{text}")] == [
        "2",
        "2",
        "2",
        "3",
        "3",
        "3",
        "4",
        "4",
        "4",
    ]
    assert (
        len(errors("jobs:\n" + "".join(f"  a/b{number}: 1\n" for number in range(300))))
        == jobs_file.MAX_ERRORS
    )


def test_a_job_stands_once_in_all_documents_and_files() -> None:
    assert errors(f"{GOOD}---\n{GOOD}") == [
        "jobs.yaml:8: billing/nightly is there twice, first in jobs.yaml:2"
    ]
    both = [job for file in ("a.yaml", "b.yaml") for job in read_jobs(GOOD.encode(), file)]
    assert [str(error) for error in twice(both)] == [
        "b.yaml:2: billing/nightly is there twice, first in a.yaml:2"
    ]


def test_sizes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}' if n else 'x'] * 10)}]\n" for n in range(9))
    laughs = "\n".join(f"      {line}" for line in bomb.splitlines())
    monkeypatch.setattr(jobs_file, "_MAX_VALUES", 1000)
    assert (
        "expected at most 1000 values, with those of aliases" in errors(with_field(f"payload:\n{laughs}"))[0]
    )
    monkeypatch.setattr(jobs_file, "MAX_JOBS", 0)
    assert errors(GOOD) == ["jobs.yaml: expected at most 0 jobs, not 1"]
    monkeypatch.setattr(jobs_file, "MAX_BYTES", 10)
    assert errors(GOOD) == [f"jobs.yaml: expected at most 10 bytes, not {len(GOOD)}"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_a_payload_in_json_is_read_as_what_it_is(payload: dict[str, Any]) -> None:
    read = jobs(with_field(f"payload: {json.dumps(payload)}"))["billing/nightly"]["payload"]

    assert json.loads(read) == payload


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="jobs:/ab\n -[]{}&*!<>|'\"#%@,?~1.", max_size=60) | st.binary(max_size=60))
def test_no_file_makes_a_trace(content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    for prefix in (b"", b"jobs:\n  a/b: "):
        try:
            read_jobs(prefix + data, "jobs.yaml")
        except WrongFile as wrong:
            assert all(error.detail.strip() for error in wrong.errors)


def test_a_file_is_read_by_a_loader_that_makes_no_objects() -> None:
    assert issubclass(jobs_file._Loader, yaml.SafeLoader)
