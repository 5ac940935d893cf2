"""The page in Chromium, on the API as it is run, a real worker and a scripted model."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Download, FilePayload, Page, expect, sync_playwright

from serving.contract import Label
from tests.support.machine import tool
from tests.support.models import tiny_contract
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.front_stack import FrontStack, front_stack

HOSTILE = '<img src=x onerror="window.hacked=1">'
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontStack]:
    """A model whose every label is markup."""
    labels = tuple(Label(id=number, name=f"{number} {HOSTILE}") for number in range(1, 6))
    contract = tiny_contract().model_copy(update={"labels": labels})
    with front_stack(redis_server, tmp_path_factory.mktemp("page"), contract) as stack:
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = tool("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, stack: FrontStack) -> Iterator[Callable[..., Page]]:
    """Opens the page; keyword arguments are the browser context's. Nothing it does may be an error in the console."""
    contexts, wrong = [], list[str]()

    def begin(path: str = "/", at: str = stack.url, **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.goto(at + path)
        return page

    yield begin
    stack.model.go.set()
    for context in contexts:
        assert all(page.evaluate("window.hacked") is None for page in context.pages)
        context.close()
    # A browser itself writes such a line for every answer of 400 and more, which some tests are about.
    assert [text for text in wrong if not text.startswith("Failed to load resource")] == []


def photo(width: int = 400, height: int = 300, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(out, kind)
    return out.getvalue()


def page_file(name: str, content: bytes | None = None) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": photo() if content is None else content}


def submit(page: Page, *files: FilePayload) -> None:
    page.set_input_files("#files", list(files))
    page.click("#submit")
    expect(page.locator("#job-title")).not_to_have_text("Job")


def drop(page: Page, path: Path) -> None:
    """Drop a file or a folder of this machine onto the page, as from a file manager."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for step in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": step, "x": 100, "y": 100, "data": data})
    session.detach()


def done(page: Page, title: str = "Done") -> None:
    expect(page.locator("#job-title")).to_have_text(title)
    expect(page.locator("#stage-text")).not_to_have_text("Loading the photo …")


def drawn_at(page: Page, x: float, y: float) -> bool:
    """Whether the canvas has ink within 3 pixels of a place, given in 0..1 of the photo."""
    return bool(
        page.evaluate(
            """([x, y]) => {
                const canvas = document.getElementById("boxes");
                const around = [canvas.width * x - 3, canvas.height * y - 3, 6, 6];
                return canvas.getContext("2d").getImageData(...around).data.some((value) => value > 0);
            }""",
            [x, y],
        )
    )


def has_box(page: Page) -> bool:
    """Whether the scripted model's box is drawn: its edges have ink, its middle has none."""
    edges = [(0.2, 0.3), (0.6, 0.3), (0.4, 0.5)]
    return all(drawn_at(page, *edge) for edge in edges) and not drawn_at(page, 0.4, 0.3)


def assert_downloaded(download: Download, path: Path) -> None:
    download.save_as(path)
    assert download.suggested_filename.startswith("job_")
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["a.png", "b.png"]
