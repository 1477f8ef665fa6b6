"""The emulator behaves as AWS does, where local/aws_behaviour corrects it: one test for each behaviour.

Each test creates its own functions, rules and state machines. It passes on AWS and on a faithful emulator.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from sjm.receiver import Receiver, Success
from sjm.receiver.callback import CallbackAnswer, post
from tests.integration.polling import patient, poll
from tests.integration.workshop import MAY_SEND, SENDS_ITS_EVENT, Workshop

SLEEPS = "import time\ndef handler(*_): time.sleep(19)"  # a function of the workshop has 20 s

TASK_IS_OVER = {"TaskTimedOut", "TaskDoesNotExist"}

SENDS_ITS_EVENT_AND_FAILS = (
    SENDS_ITS_EVENT.replace('return "returned"', 'raise NotToday("no")')
    + """
class NotToday(Exception):
    pass
"""
)
COUNTS_AND_FAILS = """
import os
count = 0
def handler(event, context):
    global count
    count += 1
    raise ValueError(f"{count} in {os.getpid()}")
"""
RETURNS_THE_SIZE_THAT_IT_IS_ASKED_FOR = """
import json
def handler(event, context):
    asked = json.loads(event.get("body") or "{}")
    return {"statusCode": 200, "body": json.dumps("x" * asked.get("characters", 0))}
"""
DIES = """
import os
def handler(event, context):
    os._exit(1)
"""
RETURNS_WHAT_IT_FINDS = """
import importlib.util, os
def handler(event, context):
    found = [name for name in event if importlib.util.find_spec(name)]
    return {"found": found, "home": os.environ.get("HOME"), "key": os.environ["AWS_ACCESS_KEY_ID"]}
"""


def seconds_of(execution: dict[str, Any]) -> float:
    return float((execution["stopDate"] - execution["startDate"]).total_seconds())


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def post_json(url: str, body: dict[str, Any]) -> CallbackAnswer:
    return post(url, body, timeout_seconds=120)


def test_a_task_without_heartbeats_fails_after_heartbeat_seconds(workshop: Workshop) -> None:
    machine = workshop.waiting_machine(workshop.function(SENDS_ITS_EVENT))

    ended = workshop.ended(workshop.start(machine, heartbeat=2))

    assert (ended["status"], ended["error"]) == ("FAILED", "States.HeartbeatTimeout")
    assert 1.9 < seconds_of(ended) < patient(12)


@pytest.mark.slow(0.3)
def test_a_heartbeat_restarts_heartbeat_seconds(workshop: Workshop) -> None:
    machine = workshop.waiting_machine(workshop.function(SENDS_ITS_EVENT))
    limit = patient(10)
    execution = workshop.start(machine, heartbeat=limit)
    token = workshop.token()

    for _ in range(3):
        time.sleep(limit / 2)
        workshop.sfn.send_task_heartbeat(taskToken=token)
    workshop.sfn.send_task_success(taskToken=token, output='{"done": true}')

    ended = workshop.ended(execution)
    assert (ended["status"], ended["output"]) == ("SUCCEEDED", '{"done": true}')


def test_heartbeats_do_not_extend_the_timeout(workshop: Workshop) -> None:
    machine = workshop.waiting_machine(workshop.function(SENDS_ITS_EVENT))
    limit = patient(10)
    execution = workshop.start(machine, heartbeat=limit - 1, timeout=limit)
    token = workshop.token()

    with pytest.raises(ClientError) as refused:
        for _ in range(10 * limit):
            workshop.sfn.send_task_heartbeat(taskToken=token)
            time.sleep(0.5)

    ended = workshop.ended(execution)
    assert ended["error"] == "States.Timeout"
    assert limit - 0.1 < seconds_of(ended) < patient(2 * limit)
    assert code_of(refused) in TASK_IS_OVER


def test_an_error_of_the_function_fails_the_waiting_task_at_once(workshop: Workshop) -> None:
    machine = workshop.waiting_machine(workshop.function(SENDS_ITS_EVENT_AND_FAILS))

    ended = workshop.ended(workshop.start(machine))

    assert ended["error"] == "NotToday"
    assert json.loads(ended["cause"])["errorMessage"] == "no"


def test_each_retry_has_its_own_token(workshop: Workshop) -> None:
    retry = {"ErrorEquals": ["NotToday"], "IntervalSeconds": 1, "MaxAttempts": 1}
    function = workshop.function(SENDS_ITS_EVENT_AND_FAILS)
    machine = workshop.waiting_machine(function, Retry=[retry])

    ended = workshop.ended(workshop.start(machine))
    tokens = {message["event"]["token"] for message in workshop.messages(2)}

    assert ended["error"] == "NotToday"
    assert len(tokens) == 2


def test_a_limit_that_is_not_a_number_is_caught_as_the_tasks_error(workshop: Workshop) -> None:
    catch = {"ErrorEquals": ["States.ALL"], "Next": "Caught", "Output": "{% $states.errorOutput.Error %}"}
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Arguments": {"FunctionName": workshop.function(SENDS_ITS_EVENT)},
        "TimeoutSeconds": "{% $states.input.timeout %}",
        "Catch": [catch],
        "End": True,
    }
    machine = workshop.machine({"StartAt": "Wait", "States": {"Wait": task, "Caught": {"Type": "Succeed"}}})

    started = workshop.sfn.start_execution(stateMachineArn=machine, input='{"timeout": "long"}')

    ended = workshop.ended(started["executionArn"])
    assert json.loads(ended["output"]) == "States.QueryEvaluationError"


def test_an_ordinary_task_takes_its_timeout_from_jsonata(workshop: Workshop) -> None:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": workshop.function(SLEEPS)},
        "TimeoutSeconds": "{% $states.input.timeout %}",
        "End": True,
    }
    machine = workshop.machine({"StartAt": "Work", "States": {"Work": task}})

    ended = workshop.ended(workshop.start(machine, timeout=1))

    assert ended["error"] == "States.Timeout"


def test_the_token_of_a_task_that_is_over_is_refused(workshop: Workshop) -> None:
    machine = workshop.waiting_machine(workshop.function(SENDS_ITS_EVENT))
    execution = workshop.start(machine)
    token = workshop.token()
    workshop.sfn.send_task_failure(taskToken=token, error="Job.Failed", cause="said so")

    with pytest.raises(ClientError) as repeated:
        workshop.sfn.send_task_success(taskToken=token, output="{}")

    ended = workshop.ended(execution)
    assert (ended["status"], ended["error"], ended["cause"]) == ("FAILED", "Job.Failed", "said so")
    assert code_of(repeated) in TASK_IS_OVER


def test_an_invalid_token_is_refused(workshop: Workshop) -> None:
    with pytest.raises(ClientError) as refused:
        workshop.sfn.send_task_success(taskToken="nonsense", output="{}")

    assert code_of(refused) == "InvalidToken"


def test_a_stopped_execution_waits_no_longer_and_stays_stopped(workshop: Workshop) -> None:
    retry = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 3}
    catch = {"ErrorEquals": ["States.ALL"], "Next": "Caught"}
    wait_options = {"Retry": [retry], "Catch": [catch]}
    function = workshop.function(SENDS_ITS_EVENT)
    machine = workshop.waiting_machine(function, **wait_options)
    definition = json.loads(workshop.sfn.describe_state_machine(stateMachineArn=machine)["definition"])
    definition["States"]["Caught"] = {"Type": "Succeed"}
    workshop.sfn.update_state_machine(stateMachineArn=machine, definition=json.dumps(definition))
    limit = patient(8)
    execution = workshop.start(machine, heartbeat=limit)
    token = workshop.token()

    workshop.sfn.stop_execution(executionArn=execution, error="Operator", cause="enough")

    def is_refused() -> bool:
        try:
            workshop.sfn.send_task_heartbeat(taskToken=token)
        except ClientError:
            return True
        return False

    poll(is_refused, 5, "end of the task")
    time.sleep(limit)  # past the heartbeat, when a task that still waited would fail or be retried
    ended = workshop.sfn.describe_execution(executionArn=execution)
    assert (ended["status"], ended["error"], ended["cause"]) == ("ABORTED", "Operator", "enough")
    assert "Messages" not in workshop.sqs.receive_message(QueueUrl=workshop.queue)


def test_starting_a_running_execution_succeeds_if_the_input_is_the_same(workshop: Workshop) -> None:
    machine = workshop.waiting_machine(workshop.function(SENDS_ITS_EVENT))
    once = {"stateMachineArn": machine, "name": "once", "input": '{"heartbeat": 60, "timeout": 120}'}
    first = workshop.sfn.start_execution(**once)

    second = workshop.sfn.start_execution(**once)
    with pytest.raises(ClientError) as other_input:
        workshop.sfn.start_execution(**once | {"input": "{}"})
    workshop.sfn.stop_execution(executionArn=first["executionArn"])
    with pytest.raises(ClientError) as after_its_end:
        workshop.sfn.start_execution(**once)

    assert second["executionArn"] == first["executionArn"]
    assert second["startDate"] == first["startDate"]
    assert code_of(other_input) == code_of(after_its_end) == "ExecutionAlreadyExists"


def test_a_machine_is_described_with_its_tracing(workshop: Workshop) -> None:
    states = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    machine = workshop.machine(states, tracingConfiguration={"enabled": True})

    def tracing() -> Any:
        return workshop.sfn.describe_state_machine(stateMachineArn=machine)["tracingConfiguration"]

    assert tracing() == {"enabled": True}
    workshop.sfn.update_state_machine(stateMachineArn=machine, tracingConfiguration={"enabled": False})
    assert tracing() == {"enabled": False}


def test_the_functions_of_a_traced_execution_share_its_trace(workshop: Workshop) -> None:
    function = workshop.function(SENDS_ITS_EVENT, TracingConfig={"Mode": "Active"})
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": {}},
    }
    states = {"First": task | {"Next": "Second"}, "Second": task | {"End": True}}
    machine = workshop.machine({"StartAt": "First", "States": states}, tracingConfiguration={"enabled": True})
    workshop.ended(workshop.start(machine))

    roots = {message["trace"].split(";")[0] for message in workshop.messages(2)}

    assert len(roots) == 1
    assert next(iter(roots)).startswith("Root=1-")


TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793"


def in_a_trace(client: Any) -> Any:
    """Makes every further request of the client part of the trace. Returns the client."""

    def add_header(request: Any, **_: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = f"{TRACE};Parent=53995c3f42cd8ad8;Sampled=1"

    client.meta.events.register("before-send", add_header)
    return client


def test_a_start_with_a_trace_header_continues_that_trace(workshop: Workshop) -> None:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html."""
    function = workshop.function(SENDS_ITS_EVENT, TracingConfig={"Mode": "Active"})
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": {}},
        "End": True,
    }
    machine = workshop.machine({"StartAt": "Only", "States": {"Only": task}})
    header = f"{TRACE};Parent=53995c3f42cd8ad8;Sampled=1"
    started = workshop.sfn.start_execution(stateMachineArn=machine, input="{}", traceHeader=header)
    workshop.ended(started["executionArn"])

    (message,) = workshop.messages(1)

    assert message["trace"].startswith(f"{TRACE};")


def test_a_function_continues_its_callers_trace_with_its_own_segment(workshop: Workshop) -> None:
    function = workshop.function(SENDS_ITS_EVENT, TracingConfig={"Mode": "Active"})

    in_a_trace(workshop.lambda_).invoke(FunctionName=function, Payload=b"{}")

    fields = dict(field.split("=") for field in workshop.messages(1)[0]["trace"].split(";")[:3])
    assert f"Root={fields['Root']}" == TRACE
    assert fields["Sampled"] == "1"
    assert fields["Parent"] != "53995c3f42cd8ad8"


def test_an_execution_is_in_the_trace_of_its_start(workshop: Workshop) -> None:
    function = workshop.function(SENDS_ITS_EVENT, TracingConfig={"Mode": "Active"})
    machine = workshop.waiting_machine(function)
    workshop.sfn = in_a_trace(workshop.sfn)

    workshop.start(machine)

    assert workshop.messages(1)[0]["trace"].split(";")[0] == TRACE


def test_a_topic_passes_the_trace_of_a_message_to_a_queue(workshop: Workshop, aws: Any) -> None:
    sns = in_a_trace(aws.client("sns"))
    topic = sns.create_topic(Name=workshop.name)["TopicArn"]
    workshop.undo.insert(0, lambda: sns.delete_topic(TopicArn=topic))
    names = ["QueueArn"]
    queue = workshop.sqs.get_queue_attributes(QueueUrl=workshop.queue, AttributeNames=names)["Attributes"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue["QueueArn"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    workshop.sqs.set_queue_attributes(QueueUrl=workshop.queue, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue["QueueArn"])

    sns.publish(TopicArn=topic, Message="hello")

    def received() -> Any:
        return workshop.sqs.receive_message(
            QueueUrl=workshop.queue, MessageSystemAttributeNames=["AWSTraceHeader"]
        ).get("Messages")

    [message] = poll(received, 20, "message")
    assert message["Attributes"]["AWSTraceHeader"].split(";")[0] == TRACE


def test_an_http_api_passes_a_trace_to_its_function(workshop: Workshop, aws: Any) -> None:
    function = workshop.function(SENDS_ITS_EVENT, TracingConfig={"Mode": "Active"})
    url = workshop.http_api(aws.client("apigatewayv2"), function, "GET /traced")

    urlopen(Request(f"{url}/traced", headers={"X-Amzn-Trace-Id": f"{TRACE};Sampled=1"}), timeout=30).close()

    assert workshop.messages(1)[0]["trace"].split(";")[0] == TRACE


def test_a_route_is_throttled_by_the_settings_of_its_stage(workshop: Workshop, aws: Any) -> None:
    gateway, function = aws.client("apigatewayv2"), workshop.function(RETURNS_THE_SIZE_THAT_IT_IS_ASKED_FOR)
    url = workshop.http_api(gateway, function, "POST /callback", "POST /other", rate=0.5, burst=3)

    def at_once(count: int) -> list[CallbackAnswer]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: post_json(f"{url}/callback", {}), range(count)))

    assert [answer.status for answer in at_once(3)] == [200] * 3
    # While a slow machine answers some of them, there may be room for the others again.
    refused = poll(lambda: [answer for answer in at_once(10) if answer.status != 200], 60, "refusal")
    assert (refused[0].status, refused[0].body) == (429, {"message": "Too Many Requests"})
    assert post_json(f"{url}/other", {}).status == 200  # each route has a limit of its own

    sent: list[int] = []
    jobs = Receiver(secrets=None, on_callback=lambda _, body, answer: sent.append(answer.status))
    message = {"job_name": "nightly", "execution_id": "x", "callback_url": f"{url}/callback"}
    with jobs.run(message) as run:  # its end repeats the result until the route has room again
        run.result = Success(state="kept")
    assert sent[-1] == 200


def test_a_response_above_six_megabytes_fails_the_invocation(workshop: Workshop, aws: Any) -> None:
    gateway, function = aws.client("apigatewayv2"), workshop.function(RETURNS_THE_SIZE_THAT_IT_IS_ASKED_FOR)
    url = workshop.http_api(gateway, function, "POST /size")

    assert post_json(f"{url}/size", {"characters": 6_000_000}).status == 200
    assert post_json(f"{url}/size", {"characters": 6_291_556}).status >= 500
    event = json.dumps({"body": json.dumps({"characters": 6_291_556})})
    answer = workshop.lambda_.invoke(FunctionName=function, Payload=event)
    assert answer["FunctionError"] == "Unhandled"
    assert json.load(answer["Payload"])["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_throttled_task_fails_with_the_error_of_lambda(workshop: Workshop) -> None:
    function = workshop.function(SENDS_ITS_EVENT)
    workshop.lambda_.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    expected = {"ErrorEquals": ["Lambda.TooManyRequestsException"], "Next": "Caught"}
    states = {
        "Run": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": function, "Payload": {}},
            "Catch": [expected],
            "End": True,
        },
        "Caught": {"Type": "Pass", "Output": "caught", "End": True},
    }

    execution = workshop.start(workshop.machine({"StartAt": "Run", "States": states}))

    ended = workshop.ended(execution)
    assert (ended["status"], ended.get("output")) == ("SUCCEEDED", '"caught"')


def test_a_throttled_event_is_kept_until_the_function_has_room(workshop: Workshop) -> None:
    function = workshop.function(SENDS_ITS_EVENT)
    workshop.lambda_.put_function_event_invoke_config(FunctionName=function, MaximumRetryAttempts=0)
    workshop.lambda_.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)

    workshop.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=b"{}")
    time.sleep(1.5)  # enough for a first attempt, which is throttled
    workshop.lambda_.delete_function_concurrency(FunctionName=function)

    assert workshop.messages(1)[0]["event"] == {}


def test_an_error_is_named_by_its_class(workshop: Workshop) -> None:
    failing, dying = workshop.function(SENDS_ITS_EVENT_AND_FAILS), workshop.function(DIES)

    failed = json.load(workshop.lambda_.invoke(FunctionName=failing, Payload=b"{}")["Payload"])
    died = json.load(workshop.lambda_.invoke(FunctionName=dying, Payload=b"{}")["Payload"])

    assert (failed["errorType"], failed["errorMessage"]) == ("NotToday", "no")
    assert died["errorType"] == "Runtime.ExitError"


def test_a_function_that_raised_an_error_serves_the_next_invocation_too(workshop: Workshop) -> None:
    function = workshop.function(COUNTS_AND_FAILS)

    answers = [workshop.lambda_.invoke(FunctionName=function, Payload=b"{}") for _ in range(2)]

    first, second = (json.load(answer["Payload"])["errorMessage"].split() for answer in answers)
    assert (first[0], second[0], second[-1]) == ("1", "2", first[-1])
    assert all(answer["FunctionError"] == "Unhandled" for answer in answers)


def test_a_function_finds_boto3_and_none_of_our_other_packages(workshop: Workshop) -> None:
    function = workshop.function(RETURNS_WHAT_IT_FINDS)
    asked = ["boto3", "urllib3", "jsonschema", "aws_xray_sdk", "pytest", "local", "jobmanager"]

    invoked = workshop.lambda_.invoke(FunctionName=function, Payload=json.dumps(asked).encode())

    returned = json.load(invoked["Payload"])
    assert returned["found"] == ["boto3", "urllib3"]
    assert returned["key"].startswith("ASIA")  # a temporary key of its role


def test_a_rules_invocation_is_retried_after_an_error_and_then_sent_to_the_destination(
    workshop: Workshop,
) -> None:
    dead_letters = workshop.sqs.create_queue(QueueName=f"{workshop.name}-dead")["QueueUrl"]
    workshop.undo.append(lambda: workshop.sqs.delete_queue(QueueUrl=dead_letters))
    attributes = workshop.sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])
    function = workshop.function(SENDS_ITS_EVENT_AND_FAILS)
    workshop.lambda_.put_function_event_invoke_config(
        FunctionName=function,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": attributes["Attributes"]["QueueArn"]}},
    )
    source = {"Source": workshop.name, "DetailType": "tick", "Detail": "{}"}
    put_rule(workshop, function, EventPattern=json.dumps({"source": [workshop.name]}))

    workshop.events.put_events(Entries=[source])

    # AWS waits for a minute before its second attempt.
    deliveries = workshop.messages(2, deadline_seconds=180)

    def dead_letter() -> Any:
        return workshop.sqs.receive_message(QueueUrl=dead_letters).get("Messages")

    record = json.loads(poll(dead_letter, 20, "dead letter")[0]["Body"])
    assert deliveries[0] == deliveries[1]
    assert record["requestPayload"] == deliveries[0]["event"]


@pytest.mark.slow
def test_the_event_of_a_cron_rule_has_the_scheduled_minute(workshop: Workshop) -> None:
    function = workshop.function(SENDS_ITS_EVENT)
    put_rule(workshop, function, suffix="-cron", ScheduleExpression="cron(* * * * ? *)")

    [tick] = [message["event"] for message in workshop.messages(1, deadline_seconds=130)]
    received = datetime.now(UTC)

    named = datetime.fromisoformat(tick["time"])
    assert tick["resources"][0].endswith(f"rule/{workshop.name}-cron")
    assert named.second == 0
    assert (received - named).total_seconds() < patient(65)


def invoking(function: str, payload: dict[str, str], **options: Any) -> dict[str, Any]:
    """A state that invokes a function and is the last, unless options say otherwise."""
    arguments = {"FunctionName": function, "Payload": payload}
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": arguments}
    return task | ({} if "Next" in options else {"End": True}) | options


TELLS_ITS_EXECUTION = {
    "id": "{% $states.context.Execution.Id %}",
    "name": "{% $states.context.Execution.Name %}",
    "given": "{% $states.input.given %}",
}


def test_each_start_of_an_express_machine_under_a_name_is_an_execution_of_its_own(workshop: Workshop) -> None:
    task = invoking(workshop.function(SENDS_ITS_EVENT), TELLS_ITS_EXECUTION, Next="Stay")
    stay = {"Type": "Wait", "Seconds": 10, "End": True}
    machine = workshop.express_machine({"Tell": task, "Stay": stay})
    inputs = ["first", "first", "other"]

    started = [
        workshop.sfn.start_execution(
            stateMachineArn=machine, name="once", input=json.dumps({"given": given})
        )["executionArn"]
        for given in inputs
    ]

    told = [message["event"] for message in workshop.messages(3)]
    own = machine.replace(":stateMachine:", ":express:")
    assert all(re.fullmatch(rf"{re.escape(own)}:once:[0-9a-f-]{{36}}", arn) for arn in started)
    expected = {(arn, "once", given) for arn, given in zip(started, inputs, strict=True)}
    assert len(expected) == 3
    assert {(each["id"], each["name"], each["given"]) for each in told} == expected


def test_calls_about_executions_of_express_machines_are_refused(workshop: Workshop) -> None:
    machine = workshop.express_machine({"Stay": {"Type": "Wait", "Seconds": 10, "End": True}})
    execution = workshop.sfn.start_execution(stateMachineArn=machine)["executionArn"]
    calls = (
        workshop.sfn.describe_execution,
        workshop.sfn.describe_state_machine_for_execution,
        workshop.sfn.get_execution_history,
        workshop.sfn.stop_execution,
    )

    for call in calls:
        with pytest.raises(ClientError, match="Resource type not valid in this context: express") as refused:
            call(executionArn=execution)
        assert code_of(refused) == "InvalidArn"
    with pytest.raises(ClientError) as refused:
        workshop.sfn.list_executions(stateMachineArn=machine)
    assert code_of(refused) == "StateMachineTypeNotSupported"


def test_synchronous_executions_under_one_name_do_not_affect_one_another(workshop: Workshop) -> None:
    machine = workshop.express_machine({"Stay": {"Type": "Wait", "Seconds": 1, "End": True}})

    def run(number: int) -> Any:
        return workshop.sfn.start_sync_execution(
            stateMachineArn=machine, name="once", input=json.dumps(number)
        )

    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(run, range(3)))

    assert [(each["status"], each["name"], each["output"]) for each in ended] == [
        ("SUCCEEDED", "once", str(number)) for number in range(3)
    ]
    assert len({each["executionArn"] for each in ended}) == 3
    assert all(":express:" in each["executionArn"] for each in ended)


def test_a_failed_synchronous_execution_returns_its_error_and_no_output(workshop: Workshop) -> None:
    machine = workshop.express_machine({"Fail": {"Type": "Fail", "Error": "NotToday", "Cause": "no"}})

    ended = workshop.sfn.start_sync_execution(stateMachineArn=machine)

    assert (ended["status"], ended["error"], ended["cause"]) == ("FAILED", "NotToday", "no")
    assert "output" not in ended


def test_an_express_execution_ends_when_its_time_is_over(workshop: Workshop) -> None:
    """tests/unit/local/test_express.py has the five minutes that AWS gives it at most."""
    stay = 4 * patient(2)
    states = {
        "Stay": {"Type": "Wait", "Seconds": stay, "Next": "Tell"},
        "Tell": invoking(workshop.function(SENDS_ITS_EVENT), {}),
    }
    machine = workshop.express_machine(states, TimeoutSeconds=2)

    started = workshop.sfn.start_execution(stateMachineArn=machine)["executionArn"]
    ended = workshop.sfn.start_sync_execution(stateMachineArn=machine)

    assert (ended["status"], ended["error"]) == ("TIMED_OUT", "States.Timeout")
    assert seconds_of(ended) > 1.9
    lines = workshop.logged("ExecutionTimedOut")
    assert [line["type"] for line in lines if line["execution_arn"] == started] == ["ExecutionTimedOut"]
    time.sleep(stay)  # past the wait, when an execution that still ran would go on
    assert "Messages" not in workshop.sqs.receive_message(QueueUrl=workshop.queue)


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ("arn:aws:states:::lambda:invoke.waitForTaskToken", "does not support '.waitForTaskToken'"),
        ("arn:aws:states:::states:startExecution.sync", "does not support '.sync'"),
        ("arn:aws:states:::states:startExecution.sync:2", "does not support '.sync"),
        ("arn:aws:states:us-east-1:123456789012:activity:typing", "does not support Activity ARN"),
    ],
)
def test_an_express_machine_that_waits_is_refused(workshop: Workshop, resource: str, reason: str) -> None:
    task = {"Type": "Task", "Resource": resource, "Arguments": {}, "End": True}
    within = {"StartAt": "Wait", "States": {"Wait": task}}
    states = {"Each": {"Type": "Map", "Items": [1], "ItemProcessor": within, "End": True}}
    machine = workshop.express_machine({"Done": {"Type": "Succeed"}})

    with pytest.raises(ClientError, match=re.escape(f"Express state machine {reason}")) as refused:
        workshop.machine(within, type="EXPRESS")
    assert code_of(refused) == "InvalidDefinition"
    with pytest.raises(ClientError, match=re.escape(f"Express state machine {reason}")) as refused:
        definition = {"QueryLanguage": "JSONata", "StartAt": "Each", "States": states}
        workshop.sfn.update_state_machine(stateMachineArn=machine, definition=json.dumps(definition))
    assert code_of(refused) == "InvalidDefinition"


def test_an_express_machine_logs_its_errors_without_data(workshop: Workshop) -> None:
    caught = {"ErrorEquals": ["NotToday"], "Next": "Failed"}
    function = workshop.function(SENDS_ITS_EVENT_AND_FAILS)
    states = {
        "Begin": {"Type": "Pass", "Next": "Run"},
        "Run": invoking(function, {}, Catch=[caught]),
        "Failed": {"Type": "Fail", "Error": "Failed", "Cause": "for a reason"},
    }
    machine = workshop.express_machine(states)

    execution = workshop.sfn.start_execution(stateMachineArn=machine, input='{"secret": "hunter2"}')

    lines = workshop.logged("ExecutionFailed")
    assert [line["type"] for line in lines] == ["TaskFailed", "FailStateEntered", "ExecutionFailed"]
    task, state, end = (line["details"] for line in lines)
    assert (task["error"], task["resource"], task["resourceType"]) == ("NotToday", "invoke", "lambda")
    assert json.loads(task["cause"])["errorMessage"] == "no"
    assert state == {"name": "Failed"}
    assert end == {"error": "Failed", "cause": "for a reason"}
    assert {line["execution_arn"] for line in lines} == {execution["executionArn"]}
    assert all(int(line["id"]) > int(line["previous_event_id"]) > 0 for line in lines)
    assert all(abs(int(line["event_timestamp"]) / 1000 - time.time()) < patient(120) for line in lines)
    assert "hunter2" not in json.dumps(lines)


def test_an_express_task_that_runs_too_long_is_logged_as_timed_out(workshop: Workshop) -> None:
    slow = workshop.function(SLEEPS)
    machine = workshop.express_machine({"Work": invoking(slow, {}, TimeoutSeconds=1)})

    workshop.sfn.start_execution(stateMachineArn=machine)

    lines = workshop.logged("ExecutionFailed")
    assert [(line["type"], line["details"]["error"]) for line in lines] == [
        ("TaskTimedOut", "States.Timeout"),
        ("ExecutionFailed", "States.Timeout"),
    ]


def test_an_express_execution_is_traced_as_a_standard_one(workshop: Workshop, aws: Any) -> None:
    function = workshop.function(SENDS_ITS_EVENT, TracingConfig={"Mode": "Active"})
    states = {
        "First": invoking(
            function, {"from": "{% $states.input %}"}, Output="{% $states.input %}", Next="Second"
        ),
        "Second": invoking(function, {"from": "{% $states.input %}"}),
    }
    machine = workshop.express_machine(states)
    workshop.sfn.update_state_machine(stateMachineArn=machine, tracingConfiguration={"enabled": True})
    traced = in_a_trace(aws.client("stepfunctions"))

    workshop.sfn.start_execution(stateMachineArn=machine, input='"nowhere"')
    traced.start_execution(stateMachineArn=machine, input='"a trace"')

    roots: dict[str, set[str]] = {}
    for message in workshop.messages(4):
        roots.setdefault(message["event"]["from"], set()).add(message["trace"].split(";")[0])
    assert roots["a trace"] == {TRACE}
    assert len(roots["nowhere"]) == 1
    assert roots["nowhere"] != {TRACE}


def test_a_state_machine_invokes_a_function_asynchronously_for_an_event(workshop: Workshop) -> None:
    function = workshop.function(SENDS_ITS_EVENT_AND_FAILS)
    workshop.lambda_.put_function_event_invoke_config(FunctionName=function, MaximumRetryAttempts=1)
    task = invoking(function, {"given": "{% $states.input %}"})
    task["Arguments"] |= {"InvocationType": "Event"}
    machine = workshop.express_machine({"Send": task})

    ended = workshop.sfn.start_sync_execution(stateMachineArn=machine, input='"this"')

    output = json.loads(ended["output"])
    assert (ended["status"], output["StatusCode"]) == ("SUCCEEDED", 202)
    assert "Payload" not in output
    # AWS waits for a minute before its second attempt.
    events = [message["event"] for message in workshop.messages(2, deadline_seconds=180)]
    assert events == [{"given": "this"}] * 2


def test_a_rule_that_stays_is_listed_although_another_is_deleted_between_two_pages(
    workshop: Workshop,
) -> None:
    """Page by page, of one rule each."""
    for number in range(3):
        name = f"{workshop.name}-page-{number}"
        workshop.events.put_rule(Name=name, ScheduleExpression="cron(0 0 1 1 ? 2199)")
        workshop.undo.insert(0, partial(workshop.events.delete_rule, Name=name))
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = workshop.events.list_rules(NamePrefix=f"{workshop.name}-page-", Limit=1, **more)
        found += [rule["Name"] for rule in page["Rules"]]
        if not page.get("NextToken"):
            break
        more = {"NextToken": page["NextToken"]}
        workshop.events.delete_rule(Name=found[-1])
    assert found == [f"{workshop.name}-page-{number}" for number in range(3)]


def put_rule(workshop: Workshop, function: str, suffix: str = "", **rule: str) -> None:
    name = workshop.name + suffix
    arn = workshop.events.put_rule(Name=name, **rule)["RuleArn"]
    workshop.lambda_.add_permission(
        FunctionName=function,
        StatementId="RuleInvokes",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=arn,
    )
    workshop.events.put_targets(Rule=name, Targets=[{"Id": "function", "Arn": function}])
    workshop.undo.insert(0, lambda: workshop.events.delete_rule(Name=name))
    workshop.undo.insert(0, lambda: workshop.events.remove_targets(Rule=name, Ids=["function"]))


def test_a_role_may_change_only_its_own_rules_and_answer_only_its_own_machine(workshop: Workshop) -> None:
    machine = workshop.waiting_machine(workshop.function(SENDS_ITS_EVENT))
    region, account = machine.split(":")[3:5]
    allowed = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "events:PutRule",
                    "events:PutTargets",
                    "events:RemoveTargets",
                    "events:DeleteRule",
                ],
                "Resource": f"arn:aws:events:{region}:{account}:rule/{workshop.name}-*",
            },
            {"Effect": "Allow", "Action": "states:SendTask*", "Resource": machine},
        ],
    }
    as_user = workshop.as_user(allowed)
    events, answers = as_user.client("events"), as_user.client("stepfunctions")
    rule = f"{workshop.name}-mine"
    events.put_rule(Name=rule, ScheduleExpression="cron(0 0 1 1 ? 2199)")
    events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": f"arn:aws:sqs:{region}:{account}:q"}])
    with pytest.raises(ClientError, match=r"ValidationException.*since it has targets"):
        events.delete_rule(Name=rule)
    events.remove_targets(Rule=rule, Ids=["queue"])
    events.delete_rule(Name=rule)
    with pytest.raises(ClientError, match="AccessDenied"):
        events.put_rule(Name="another", ScheduleExpression="cron(0 0 1 1 ? 2199)")
    with pytest.raises(ClientError, match="AccessDenied"):
        events.put_targets(
            Rule="another", Targets=[{"Id": "queue", "Arn": f"arn:aws:sqs:{region}:{account}:q"}]
        )
    workshop.start(machine)
    answers.send_task_heartbeat(taskToken=workshop.token())
    other = workshop.waiting_machine(workshop.function(SENDS_ITS_EVENT))
    workshop.start(other)
    with pytest.raises(ClientError, match="AccessDenied"):
        answers.send_task_heartbeat(taskToken=workshop.token())


@pytest.fixture
def key(aws: Any) -> Iterator[str]:
    kms = aws.client("kms")
    arn = str(kms.create_key(Description="of a test")["KeyMetadata"]["Arn"])
    yield arn
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)


def test_a_role_may_use_a_key_only_for_the_purpose_in_its_policy(workshop: Workshop, key: str) -> None:
    of_paging = {"StringEquals": {"kms:EncryptionContext:purpose": "paging"}}
    allowed = {
        "Effect": "Allow",
        "Action": ["kms:Encrypt", "kms:Decrypt"],
        "Resource": key,
        "Condition": of_paging,
    }
    kms = workshop.as_user({"Version": "2012-10-17", "Statement": [allowed]}).client("kms")
    context = {"purpose": "paging", "query": "1"}

    blob = kms.encrypt(KeyId=key, Plaintext=b"here", EncryptionContext=context)["CiphertextBlob"]

    opened = kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=context)
    assert opened["Plaintext"] == b"here"
    for other in ({}, {"purpose": "secrets"}, {"query": "1"}, {"purpose": "Paging"}):
        with pytest.raises(ClientError, match="AccessDenied"):
            kms.encrypt(KeyId=key, Plaintext=b"here", EncryptionContext=other)
        with pytest.raises(ClientError, match="AccessDenied"):
            kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=other)


def test_a_ciphertext_that_was_changed_or_has_another_context_is_refused(aws: Any, key: str) -> None:
    kms = aws.client("kms")
    context = {"purpose": "paging"}
    blob = kms.encrypt(KeyId=key, Plaintext=b"here", EncryptionContext=context)["CiphertextBlob"]
    data_key = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)

    def decrypt(blob: bytes, **options: Any) -> Any:
        return kms.decrypt(**{"CiphertextBlob": blob, "EncryptionContext": context} | options)["Plaintext"]

    assert decrypt(blob) == decrypt(blob, KeyId=key) == b"here"
    assert decrypt(data_key["CiphertextBlob"]) == data_key["Plaintext"]
    for changed in (
        blob[:-1],
        blob[:-1] + bytes([blob[-1] ^ 1]),
        blob[:90] + bytes([blob[90] ^ 1]) + blob[91:],
    ):
        with pytest.raises(ClientError) as refused:
            decrypt(changed, KeyId=key)
        assert code_of(refused) == "InvalidCiphertextException"
    with pytest.raises(ClientError) as refused:
        decrypt(blob[:-1], KeyId=key)
    assert code_of(refused) == "InvalidCiphertextException"
    with pytest.raises(ClientError) as refused:
        decrypt(blob, EncryptionContext={"purpose": "other"})
    assert code_of(refused) == "InvalidCiphertextException"


def test_a_ciphertext_of_another_key_than_the_named_one_is_refused(aws: Any, key: str) -> None:
    kms = aws.client("kms")
    other = kms.create_key(Description="of a test")["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=other, Plaintext=b"here")["CiphertextBlob"]

    with pytest.raises(ClientError) as refused:
        kms.decrypt(KeyId=key, CiphertextBlob=blob)

    assert code_of(refused) == "IncorrectKeyException"
    kms.schedule_key_deletion(KeyId=other, PendingWindowInDays=7)


@pytest.fixture
def topic(aws: Any) -> Iterator[str]:
    sns = aws.client("sns")
    arn = str(sns.create_topic(Name=f"emulator-{uuid.uuid4().hex[:12]}")["TopicArn"])
    yield arn
    sns.delete_topic(TopicArn=arn)


def arn_of_queue(workshop: Workshop, url: str) -> str:
    found = workshop.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return str(found["Attributes"]["QueueArn"])


def test_a_message_that_a_queue_refuses_goes_to_the_dead_letter_queue(
    workshop: Workshop, aws: Any, topic: str
) -> None:
    """No policy allows the topic to send to the closed queue."""
    closed = workshop.sqs.create_queue(QueueName=f"{workshop.name}-closed")["QueueUrl"]
    workshop.undo.insert(0, lambda: workshop.sqs.delete_queue(QueueUrl=closed))
    kept = arn_of_queue(workshop, workshop.queue)
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": kept}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    workshop.sqs.set_queue_attributes(QueueUrl=workshop.queue, Attributes={"Policy": policy})
    sns = aws.client("sns")
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn_of_queue(workshop, closed),
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": kept}), "RawMessageDelivery": "true"},
    )
    sns.publish(TopicArn=topic, Message='{"kept": true}')

    assert workshop.messages(1) == [{"kept": True}]


def test_mail_is_pending_and_its_subscription_has_an_arn(aws: Any, topic: str) -> None:
    sns = aws.client("sns")
    mail = {"TopicArn": topic, "Protocol": "email", "Endpoint": f"{uuid.uuid4().hex}@example.com"}
    arn = sns.subscribe(**mail, ReturnSubscriptionArn=True)["SubscriptionArn"]

    assert arn.startswith(f"{topic}:")
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["PendingConfirmation"] == "true"
    assert sns.subscribe(**mail)["SubscriptionArn"].replace(" ", "") == "pendingconfirmation"


def test_dead_letters_are_moved_back_as_new_messages(workshop: Workshop) -> None:
    dead = workshop.sqs.create_queue(QueueName=f"{workshop.name}-dead")["QueueUrl"]
    workshop.undo.insert(0, lambda: workshop.sqs.delete_queue(QueueUrl=dead))
    move = {
        "SourceArn": arn_of_queue(workshop, dead),
        "DestinationArn": arn_of_queue(workshop, workshop.queue),
    }
    workshop.sqs.send_message(QueueUrl=dead, MessageBody='{"moved": true}')
    with pytest.raises(ClientError):  # it is not a dead-letter queue yet
        workshop.sqs.start_message_move_task(**move)
    redrive = json.dumps({"deadLetterTargetArn": move["SourceArn"], "maxReceiveCount": 5})
    workshop.sqs.set_queue_attributes(QueueUrl=workshop.queue, Attributes={"RedrivePolicy": redrive})

    workshop.sqs.start_message_move_task(**move)

    assert workshop.messages(1) == [{"moved": True}]


def test_the_right_to_send_a_message_includes_batches(workshop: Workshop) -> None:
    """test_event_forks.py covers other batches, Firehose's compression and Athena's SQL."""
    sqs = workshop.as_user(MAY_SEND).client("sqs")

    sqs.send_message_batch(QueueUrl=workshop.queue, Entries=[{"Id": "0", "MessageBody": '{"n": 1}'}])
    with pytest.raises(ClientError) as refused:
        sqs.delete_message_batch(QueueUrl=workshop.queue, Entries=[{"Id": "0", "ReceiptHandle": "r"}])

    assert "AccessDenied" in code_of(refused)
    assert workshop.messages(1) == [{"n": 1}]


def test_an_invocation_survives_an_update_of_its_function(workshop: Workshop) -> None:
    arn = workshop.function(
        SENDS_ITS_EVENT.replace("    return", "    import time; time.sleep(3)\n    return")
    )
    name = arn.rpartition(":")[2]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(workshop.lambda_.invoke, FunctionName=name, Payload=b"{}")
        workshop.messages(1)
        workshop.lambda_.update_function_configuration(FunctionName=name, Timeout=25)
        answer = running.result()

    assert "FunctionError" not in answer, answer["Payload"].read()
    assert json.load(answer["Payload"]) == "returned"
