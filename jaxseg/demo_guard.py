"""What stands between the demo page and whoever calls it: no other address of the server answers, and no browser leaves it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_API = "/gradio_api"
_UPLOAD = f"{_API}/upload"

#: What the page itself asks for. Gradio's server has more: it fetches addresses for others, keeps links, describes its API.
ALLOWED = (
    *("/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"),
    *(f"{_API}/{name}" for name in ("startup-events", "theme.css", "queue/join", "queue/data", "upload", "upload_progress")),
    *(f"{_API}/{name}" for name in ("cancel", "reset")),
)
ALLOWED_BELOW = ("/assets/", "/static/", f"{_API}/heartbeat/", f"{_API}/file=/")

#: Bytes of a request that is no upload: the settings of a prediction have some thousand.
LARGEST_REQUEST = 2**20

#: Nothing from elsewhere: scripts, styles, fonts and pictures are the page's own; Gradio's need inline ones.
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; base-uri 'self'; object-src 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Guard:
    """ASGI middleware that refuses what the page does not need, and tells browsers to load nothing from elsewhere.

    Args:
        app: what is guarded.
        max_upload: bytes that a file may have.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], max_upload: int) -> None:
        self._app, self._max_upload = app, max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404 for other addresses and 413 for requests that are too large; pass all others on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        status = self.refuse(scope)
        if status is not None:
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain"), *HEADERS]})
            await send({"type": "http.response.body", "body": _REASONS[status]})
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in HEADERS}
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in names]
                message = {**message, "headers": [*kept, *HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers)

    def refuse(self, scope: Scope) -> int | None:
        """Return the status with which a request is refused: 404, 411 or 413; ``None`` if it is not."""
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if path != "/" and path not in ALLOWED and not path.startswith(ALLOWED_BELOW):
            return 404
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():
            return 411
        # Beside the file, an upload has its name and the borders of its parts.
        limit = self._max_upload + LARGEST_REQUEST if path == _UPLOAD else LARGEST_REQUEST
        return 413 if int(length) > limit else None


_REASONS = {404: b"The page does not need this.", 411: b"How long is it?", 413: b"This is too large."}
