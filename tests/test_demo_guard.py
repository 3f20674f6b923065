"""What the demo page's server answers and refuses, without Gradio."""

import asyncio

import pytest

from jaxseg import demo_guard


def ask(path, method="GET", *, headers=(), root=""):
    """Return what the guard answers: status, headers, body; 200 where it let the request through."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Referrer-Policy", b"unsafe-url")]})
        await send({"type": "http.response.body", "body": b"through"})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": list(headers), "root_path": root}
    asyncio.run(demo_guard.Guard(application, max_upload=1000)(scope, None, send))
    return sent[0]["status"], sent[0]["headers"], sent[1]["body"]


@pytest.mark.parametrize("path", ["/", "/config", "/assets/x.js", "/gradio_api/queue/data", "/gradio_api/file=/tmp/x.png"])
def test_the_guard_lets_the_page_through(path):
    status, headers, body = ask(path)
    assert (status, body) == (200, b"through")
    assert dict(headers)[b"content-security-policy"].startswith(b"default-src 'self'")
    assert b"Referrer-Policy" not in dict(headers)
    assert dict(headers)[b"referrer-policy"] == b"no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/run/predict", "/gradio_api/call/predict", "/docs"),
        *("/gradio_api/file=http://example.org/x.png", "/gradio_api/proxy=http://example.org", "/gradio_api/deep_link"),
        *("/gradio_api/process_recording", "/gradio_api/runs", "/monitoring/summary", "/gradio_api/vibe-code", "/configs"),
    ],
)
def test_the_guard_refuses_all_else(path):
    status, headers, _ = ask(path)
    assert status == 404
    assert b"content-security-policy" in dict(headers)


def test_the_guard_limits_what_is_sent():
    upload, join = "/gradio_api/upload", "/gradio_api/queue/join"
    assert ask(upload, "POST")[0] == 411
    assert ask(upload, "POST", headers=[(b"content-length", b"1e9")])[0] == 411
    assert ask(upload, "POST", headers=[(b"content-length", b"900")])[0] == 200
    assert ask(upload, "POST", headers=[(b"content-length", b"1100000")])[0] == 413
    assert ask(join, "POST", headers=[(b"content-length", b"1048577")])[0] == 413
    assert ask(join, "POST", headers=[(b"content-length", b"1048576")])[0] == 200


def test_the_guard_works_behind_a_proxy():
    assert ask("/demo/config", root="/demo")[0] == 200
    assert ask("/demo/gradio_api/info", root="/demo")[0] == 404


def test_websockets_are_not_answered_and_the_start_is_passed_on():
    reached = []

    async def application(scope, receive, send):
        reached.append(scope["type"])

    guard = demo_guard.Guard(application, max_upload=1)
    for kind in ("websocket", "lifespan"):
        asyncio.run(guard({"type": kind}, None, None))
    assert reached == ["lifespan"]
