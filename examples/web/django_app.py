"""Django, in one file: gunicorn --preload --workers 4 --threads 8 django_app:application."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST

from rpcb_trio import BlockingRpcClient, RemoteError, RpcbError

QUEUE = os.environ.get("QUEUE", "shout")
STATUS = {"request": 400, "busy": 503}

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost"])
client = BlockingRpcClient(os.environ.get("AMQP_URL", "amqp://localhost"))  # of a module that views import


@require_POST
def shout(request: HttpRequest) -> HttpResponse:
    try:
        reply = client.call(request.body, queue=QUEUE, timeout=5).raise_for_error()
    except RemoteError as error:
        return HttpResponse(str(error), status=STATUS.get(error.kind or "", 502))
    except RpcbError as error:  # none in time, no such queue, no broker
        return HttpResponse(str(error), status=503)
    return HttpResponse(reply.body, content_type=reply.content_type)


urlpatterns = [path("shout", shout)]
application = get_wsgi_application()
