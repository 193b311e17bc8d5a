"""The web application: a page, its files, and the endpoint that classifies a photo."""

from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from losa.pipelines.classifier.model import Classifier
from losa.pipelines.serve.headers import SafeHeaders
from losa.pipelines.serve.prediction_service import PredictionService

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1", "[::1]")
_PAGE = {
    "/": ("index.html", "text/html"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
"""Path of a request -> file of the page, and its media type. There are no other files."""


def make_application(classifier: Classifier, *, top: int, max_upload: int, local: bool) -> Starlette:
    """The application that serves a classifier.

    Args:
        classifier: the classifier.
        top: most classes of a prediction, unless a request asks for another number.
        max_upload: most bytes of a photo.
        local: whether the application is for this machine only. Then requests for another host are refused,
            because a page from elsewhere could make a browser send them by a name that leads here.
    """
    service = PredictionService(classifier, top=top, max_upload=max_upload)
    routes = [Route(path, _file(*of), methods=["GET"]) for path, of in _PAGE.items()]
    routes += [
        Route("/about", service.about, methods=["GET"]),
        Route("/predict", service.predict, methods=["POST"]),
    ]
    hosts = _THIS_MACHINE if local else ("*",)
    return Starlette(
        routes=routes,
        middleware=[Middleware(SafeHeaders), Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers={HTTPException: _as_json},
    )


def _file(name: str, media_type: str) -> Response:
    """An endpoint that answers with a file of the page: a response is an ASGI application."""
    content = files("losa.pipelines.serve").joinpath("page", name).read_bytes()
    return Response(content, media_type=media_type)


def _as_json(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- the signature is Starlette's
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)
