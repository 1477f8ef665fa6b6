"""The service's side of Serverless Job Manager. Needs nothing but Python.

::

    jobs = Receiver(secrets=[os.environ["WEBHOOK_SECRET"]])

    @jobs.job("nightly")
    def nightly(run):
        for invoice in run.track(invoices):
            write(invoice, fence=run.fencing_token)
        return Success(state="4712", summary="closed the books")

    application = jobs.wsgi()

Importing this module is cheap: what sends requests, reads JSON or calls AWS is imported when it is used.
"""

from sjm.receiver.answer import Answer
from sjm.receiver.callback import CallbackAnswer
from sjm.receiver.errors import (
    Duplicate,
    NothingToDo,
    OutOfTime,
    ReceiverError,
    Refused,
    ResultNotDelivered,
    Stopped,
    TestNotification,
)
from sjm.receiver.outcome import HANDED_OVER, Failure, HandedOver, Success
from sjm.receiver.receiver import Receiver
from sjm.receiver.run import Run
from sjm.receiver.seen import MemorySeen, Seen
from sjm.receiver.seen_directory import DirectorySeen
from sjm.receiver.seen_dynamodb import DynamoDBSeen

__all__ = [
    "HANDED_OVER",
    "Answer",
    "CallbackAnswer",
    "DirectorySeen",
    "Duplicate",
    "DynamoDBSeen",
    "Failure",
    "HandedOver",
    "MemorySeen",
    "NothingToDo",
    "OutOfTime",
    "Receiver",
    "ReceiverError",
    "Refused",
    "ResultNotDelivered",
    "Run",
    "Seen",
    "Stopped",
    "Success",
    "TestNotification",
]
