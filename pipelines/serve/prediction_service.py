"""Classifies the photos of requests, one at a time."""

from functools import partial

from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from losa.cache_format import LosaError
from losa.extract.sources import InvalidImage
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.serve.uploads import uploaded_photo

MOST_REQUESTS = 16
"""Requests that wait or are computed; more are told to come again, because each one holds its photo."""


class PredictionService:
    """The endpoints that answer in JSON."""

    def __init__(self, classifier: Classifier, *, top: int, max_upload: int) -> None:
        """Open the service.

        Args:
            classifier: the classifier.
            top: most classes of a prediction, unless a request asks for another number.
            max_upload: most bytes of a photo.
        """
        self._classifier = classifier
        self._top = top
        self._max_upload = max_upload
        self._one_at_a_time = CapacityLimiter(1)
        self._requests = 0

    async def about(self, request: Request) -> JSONResponse:  # noqa: ARG002 -- the signature is Starlette's
        """What is served: ``{"backbone": ..., "title": ..., "side_networks": [...], "max_upload": ...}``.

        ``title`` says what the side networks are.
        """
        networks = self._classifier.networks
        return JSONResponse(
            {
                "backbone": networks.backbone.name,
                "title": networks.title,
                "side_networks": list(networks.names),
                "max_upload": self._max_upload,
            }
        )

    async def predict(self, request: Request) -> JSONResponse:
        """The predictions for the photo of a request, as losa-predict writes them.

        Raises:
            HTTPException: 400: there is no photo, ``top`` is no number, or an option is unknown; 403: the
                request comes from a page of another site; 413: the photo has too many bytes; 422: it cannot
                be decoded, or has too many pixels; 503: too many requests at once, or too little memory.
        """
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise HTTPException(403, "requests from pages of other sites are refused")
        top = _top(request, self._top)
        if self._requests >= MOST_REQUESTS:
            raise HTTPException(503, "too many photos at once: try again", headers={"Retry-After": "1"})
        self._requests += 1
        try:
            photo = await uploaded_photo(request, self._max_upload)
            classify = partial(self._classifier.predict, [photo], top)
            found = await to_thread.run_sync(classify, limiter=self._one_at_a_time)
        except InvalidImage as error:
            raise HTTPException(422, f"the photo cannot be read: {_reason(error)}") from None
        except LosaError:
            raise HTTPException(503, "too little memory for this photo at the moment: try again") from None
        finally:
            self._requests -= 1
        return JSONResponse({"predictions": [each.to_json() for each in found]})


def _reason(error: InvalidImage) -> str:
    """The reason without the name that `Classifier.predict` gives to the only image."""
    return str(error).removeprefix("image 0: ")


def _top(request: Request, default: int) -> int:
    if unknown := sorted(set(request.query_params) - {"top"}):
        raise HTTPException(400, f"there is no option {unknown[0]!r}: expected none but top")
    asked = request.query_params.get("top", str(default))
    if not asked.isdecimal() or int(asked) < 1:
        raise HTTPException(400, f"top={asked}: expected the number of classes to tell, at least 1")
    return int(asked)
