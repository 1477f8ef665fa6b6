"""The same service in several frameworks. A server calls one of the functions to get its application."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from sjm.receiver import DirectorySeen, Receiver, Run, Success
from tests.unit.sjm.receiver.manager import SECRET


def service() -> Receiver:
    """The receiver of all of them. Several processes share its directories."""
    directory = os.environ["SERVICE_DIRECTORY"]
    jobs = Receiver(secrets=[SECRET], seen=DirectorySeen(f"{directory}/seen"), spool=f"{directory}/spool")

    @jobs.job("nightly")
    def nightly(run: Run) -> Success:
        return Success(state=run.payload, summary=f"process {os.getpid()}")

    @jobs.job("slow")
    def slow(run: Run) -> str:
        time.sleep(1)
        return "done in the end"

    @jobs.job("coroutine")
    async def coroutine(run: Run) -> str:
        await asyncio.sleep(0)
        return f"in {threading.current_thread().name}"

    @jobs.job("now")
    def now(run: Run) -> Success:
        return Success(state=run.payload)

    return jobs


def plain_wsgi() -> Any:
    """Without a framework, as gunicorn and others serve it."""
    return service().wsgi()


def plain_asgi() -> Any:
    """Without a framework, as uvicorn and others serve it."""
    return service().asgi()


def flask_mounted() -> Any:
    """Mounted below a path of a Flask application."""
    from flask import Flask
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = Flask(__name__)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/jobs": service().wsgi()})  # type: ignore[method-assign]
    return app


def flask_view() -> Any:
    """As a view of a Flask application."""
    from flask import Flask, Response, request

    jobs = service()
    app = Flask(__name__)

    @app.post("/jobs/<job_name>")
    def notified(job_name: str) -> Response:
        answer = jobs.receive(request.get_data(), request.headers)
        return Response(answer.body, answer.status, answer.headers)

    return app


def fastapi_mounted() -> Any:
    """Mounted below a path of a FastAPI application."""
    from fastapi import FastAPI

    jobs = service()
    app = FastAPI(lifespan=jobs.lifespan)
    app.mount("/jobs", jobs.asgi())
    return app


def django_view() -> Any:
    """As a view of a Django site that checks forms of browsers."""
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path
    from django.views.decorators.csrf import csrf_exempt

    jobs = service()

    def notified(request: HttpRequest, job_name: str) -> HttpResponse:
        answer = jobs.receive(request.body, request.headers)
        return HttpResponse(answer.body, status=answer.status, headers=answer.headers)

    class Urls:
        urlpatterns = (path("jobs/<job_name>", csrf_exempt(notified)),)

    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        ROOT_URLCONF=Urls,
        SECRET_KEY="of these tests",
    )
    application: Callable[..., Any] = get_wsgi_application()
    return application
