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
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.front_stack import FrontStack, front_stack
from workers.io.redis_link import RedisLink
from workers.store.api_keys import KeyStore, KeyTerms

HOSTILE = '<img src=x onerror="window.hacked=1">'
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontStack]:
    """A model whose every label is markup."""
    labels = tuple(Label(id=number, name=f"{number} {HOSTILE}") for number in range(1, 6))
    contract = tiny_contract().model_copy(update={"labels": labels})
    with front_stack(redis_server, tmp_path_factory.mktemp("page"), contract) as found:
        yield found


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


def _photo(width: int = 400, height: int = 300, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(out, kind)
    return out.getvalue()


def _file(name: str, content: bytes | None = None) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": _photo() if content is None else content}


def _submit(page: Page, *files: FilePayload) -> None:
    page.set_input_files("#files", list(files))
    page.click("#submit")
    expect(page.locator("#job-title")).not_to_have_text("Job")


def _done(page: Page, title: str = "Done") -> None:
    expect(page.locator("#job-title")).to_have_text(title)
    expect(page.locator("#stage-text")).not_to_have_text("Loading the photo …")


def _drawn_at(page: Page, x: float, y: float) -> bool:
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


def _has_box(page: Page) -> bool:
    """Whether the scripted model's box is drawn: its edges have ink, its middle has none."""
    edges = [(0.2, 0.3), (0.6, 0.3), (0.4, 0.5)]
    return all(_drawn_at(page, *edge) for edge in edges) and not _drawn_at(page, 0.4, 0.3)


def test_from_photos_to_boxes(open_page: Callable[..., Page]) -> None:
    """Chosen photos are sent, each is listed with what was found in it, and the box lies where the model says."""
    page = open_page()
    expect(page.locator("#model-hint")).to_have_text("version 1, knows 5 labels")
    expect(page.locator("#submit")).to_be_disabled()

    page.set_input_files("#files", [_file("a.png"), _file("b.jpg", _photo(300, 600, "JPEG"))])
    expect(page.locator("#chosen-text")).to_contain_text("2 photos")
    page.get_by_role("button", name="Detect in 2 photos").click()

    _done(page)
    expect(page.locator("#job-text")).to_contain_text("2 photos done")
    assert "#job=job_" in page.url
    expect(page.get_by_role("button", name="a.png: 1 detection")).to_have_attribute("aria-current", "true")
    expect(page.locator("#photo-facts")).to_have_text("400 \N{MULTIPLICATION SIGN} 300 pixels · default, version 1")
    assert _has_box(page)
    page.get_by_role("button", name="b.jpg: 1 detection").click()
    expect(page.locator("#photo-name")).to_have_text("b.jpg")
    expect(page.locator("#photo")).to_be_visible()
    assert _has_box(page)
    size = page.locator("#photo").bounding_box()
    assert size
    assert abs(size["height"] / size["width"] - 2) < 0.05


@pytest.mark.process
def test_photos_are_dropped(open_page: Callable[..., Page]) -> None:
    """What is dropped anywhere on the page is taken, twice the same file once."""
    page = open_page()
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            const content = new Uint8Array(bytes);
            for (const name of ["a.png", "b.png"]) {
                transfer.items.add(new File([content], name, { type: "image/png", lastModified: 1 }));
            }
            return transfer;
        }""",
        list(_photo()),
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_have_class("drop over")
    for _ in range(2):
        page.dispatch_event("header", "drop", {"dataTransfer": transfer})
        expect(page.locator("#submit")).to_have_text("Detect in 2 photos")
    expect(page.locator("#drop")).to_have_class("drop")

    page.click("#submit")
    _done(page)
    assert _has_box(page)


def test_a_job_survives_a_reload(open_page: Callable[..., Page]) -> None:
    """The address is all that is needed: the photos come back from the server. Back leads to the start."""
    page = open_page()
    _submit(page, _file("a.png"), _file("b.png"))
    _done(page)

    page.reload()

    _done(page)
    expect(page.locator("#photo")).to_be_visible()
    assert page.evaluate("document.getElementById('photo').naturalWidth") == 400
    assert _has_box(page)
    page.get_by_role("button", name="New photos").click()
    expect(page.get_by_role("heading", name="Find products in photos")).to_be_focused()
    page.go_back()
    _done(page)


@pytest.mark.process
def test_tiles_are_asked_for(open_page: Callable[..., Page], stack: FrontStack) -> None:
    """The model looks at as many tiles as were chosen, beside the whole photo."""
    page = open_page()
    page.get_by_label("Look at").select_option("2x2")
    stack.model.batches.clear()
    _submit(page, _file("a.png"))
    _done(page)

    assert sum(stack.model.batches) == 5
    expect(page.locator("#found button")).not_to_have_count(0)


@pytest.mark.process
def test_the_slider_filters_at_once(open_page: Callable[..., Page]) -> None:
    """A higher score takes boxes off picture, list and strip; the page says how many are hidden."""
    page = open_page()
    _submit(page, _file("a.png"))
    _done(page)
    expect(page.locator("#found-title")).to_have_text("Detections (1)")
    assert page.locator("#threshold").get_attribute("min") == "10"  # of the model's own

    page.locator("#threshold").fill("95")

    expect(page.locator("#found-title")).to_have_text("Detections (0)")
    expect(page.locator("#found-text")).to_have_text("Nothing has that score: lower it to see 1 more.")
    assert not _has_box(page)
    page.locator("#threshold").fill("50")
    expect(page.locator("#found button")).to_have_count(1)
    assert _has_box(page)


@pytest.mark.process
def test_list_and_picture_show_each_other(open_page: Callable[..., Page]) -> None:
    """Pointing at an entry, or focusing it, makes its box stand out, and pointing at the box its entry."""
    page = open_page()
    _submit(page, _file("a.png"))
    _done(page)
    entry = page.locator("#found button")
    page.mouse.move(0, 0)
    thin = page.evaluate("document.getElementById('boxes').toDataURL()")

    entry.hover()
    assert page.evaluate("document.getElementById('boxes').toDataURL()") != thin
    page.mouse.move(0, 0)
    assert page.evaluate("document.getElementById('boxes').toDataURL()") == thin
    entry.focus()
    assert page.evaluate("document.getElementById('boxes').toDataURL()") != thin
    entry.blur()

    frame = page.locator("#boxes").bounding_box()
    assert frame
    page.mouse.move(frame["x"] + 0.4 * frame["width"], frame["y"] + 0.3 * frame["height"])
    expect(entry).to_have_class("chosen")
    page.mouse.move(frame["x"] + 0.9 * frame["width"], frame["y"] + 0.9 * frame["height"])
    expect(entry).not_to_have_class("chosen")


@pytest.mark.process
def test_the_keyboard_is_enough(open_page: Callable[..., Page]) -> None:
    """Tab reaches everything in the order of the page, arrows go through the photos, Enter and Space press."""
    page = open_page()
    page.set_input_files("#files", [_file(f"{number}.png") for number in range(3)])
    page.locator("#files").focus()
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["clear", "model", "tiles", "submit", ""]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    _done(page)
    expect(page.locator("#strip button")).to_have_count(3)

    page.locator("#strip button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#photo-name")).to_have_text("2.png")
    expect(page.locator("#strip button").nth(2)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#photo-name")).to_have_text("1.png")
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.id") != "threshold":
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#found button")).to_be_focused()
    expect(page.locator("#found button")).to_have_class("chosen")
    page.keyboard.press("Space")
    expect(page.locator("#found button")).to_have_attribute("aria-pressed", "true")


@pytest.mark.process
def test_a_phone(open_page: Callable[..., Page]) -> None:
    """At 360 pixels nothing is cut off or needs scrolling sideways, and what is touched is large enough."""
    page = open_page(viewport={"width": 360, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True)

    def fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        for control in page.locator("button:visible, select:visible, label.button:visible").all():
            box = control.bounding_box()
            assert box
            assert min(box["height"], box["width"]) >= 36, control.inner_text()

    fits()
    _submit(page, *(_file(f"a-long-name-without-any-space-in-it-{number}-{'x' * 80}.png") for number in range(9)))
    _done(page)
    fits()
    assert _has_box(page)
    page.locator("#strip button").nth(1).tap()
    expect(page.locator("#photo-name")).to_contain_text("in-it-1-")
    page.locator("#found button").tap()
    expect(page.locator("#found button")).to_have_attribute("aria-pressed", "true")


@pytest.mark.process
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(open_page: Callable[..., Page], scheme: str) -> None:
    """Every text has a contrast of 4.5 to its ground (WCAG 2.2 AA), in both colour schemes."""
    page = open_page(color_scheme=scheme)
    page.set_input_files("#files", [_file("a.png"), _file("broken.png", b"nothing")])
    poor = [*_poor_contrasts(page)]
    page.click("#submit")
    _done(page, "Done, with failures")
    poor += _poor_contrasts(page)
    page.get_by_role("button", name="broken.png: failed").click()
    poor += _poor_contrasts(page)

    assert poor == []


def _poor_contrasts(page: Page) -> list[Any]:
    found: list[Any] = page.evaluate(
        """() => {
            const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
                .getContext("2d", { willReadFrequently: true });
            const rgb = (colour) => {
                pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
                return [...pen.getImageData(0, 0, 1, 1).data];
            };
            const light = (colour) => rgb(colour).slice(0, 3).map((part) => part / 255)
                .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
                .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
            const ground = (element) => {
                for (let at = element; at; at = at.parentElement) {
                    const colour = getComputedStyle(at).backgroundColor;
                    if (rgb(colour)[3] > 250) return colour;
                }
                return getComputedStyle(document.body).backgroundColor;
            };
            return [...document.querySelectorAll("body *")]
                .filter((one) => one.checkVisibility() && !one.disabled && !one.closest(".badge"))
                .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
                .map((one) => {
                    const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((x, y) => y - x);
                    return [one.id || one.className || one.textContent, (a + 0.05) / (b + 0.05)];
                })
                .filter(([, ratio]) => ratio < 4.5);
        }"""
    )
    return found


def test_a_photo_that_fails_says_why(open_page: Callable[..., Page]) -> None:
    """Its reason stands where the detections of the others do; the others are as if it were not there."""
    page = open_page()
    _submit(page, _file("broken.png", b"nothing"), _file("good.png"))
    _done(page, "Done, with failures")
    expect(page.locator("#job-text")).to_contain_text("1 photo done · 1 failed")

    expect(page.get_by_role("button", name="broken.png: failed")).to_have_attribute("aria-current", "true")
    expect(page.locator("#failure")).to_contain_text("unsupported_format")
    expect(page.locator("#stage-text")).to_have_text("The photo cannot be shown here.")
    page.get_by_role("button", name="Next photo").click()
    expect(page.locator("#failure")).to_be_hidden()
    expect(page.locator("#found button")).to_have_count(1)
    assert _has_box(page)


@pytest.mark.process
def test_a_photo_that_browsers_do_not_show(open_page: Callable[..., Page]) -> None:
    """The server's own drawing takes its place, so that the boxes are seen all the same; ours are not drawn over it."""
    page = open_page()
    _submit(page, _file("scan.tif", _photo(kind="TIFF")))
    _done(page)

    expect(page.locator("#photo")).to_be_visible()
    assert page.evaluate("document.getElementById('photo').naturalWidth") == 400
    expect(page.locator("#boxes")).to_have_attribute("data-drawn", "0")
    expect(page.locator("#found button")).to_have_count(1)


@pytest.mark.process
def test_names_and_labels_are_text(open_page: Callable[..., Page]) -> None:
    """Markup in a file's name, a label, an id in the address: all of it is shown as it is, none of it is markup."""
    page = open_page()
    _submit(page, _file(f"{HOSTILE}.png"), _file("javascript:window.hacked=1", b"<svg onload='window.hacked=1'>"))
    _done(page, "Done, with failures")

    expect(page.locator("#photo-name")).to_have_text(f"{HOSTILE}.png")
    expect(page.locator("#found .name")).to_contain_text(HOSTILE)
    page.locator("#strip button").nth(1).click()
    expect(page.locator("#failure")).to_be_visible()
    page.goto(page.url.split("#")[0] + "#job=" + HOSTILE)
    expect(page.locator("#error")).to_contain_text(HOSTILE)
    assert page.locator("main img[src=x], main script").count() == 0


def test_a_job_is_canceled(open_page: Callable[..., Page], stack: FrontStack) -> None:
    """While it runs the page counts, and Cancel ends it."""
    page = open_page()
    stack.model.go.clear()
    _submit(page, *(_file(f"{number}.png", _photo(32, 32)) for number in range(40)))
    expect(page.locator("#job-title")).to_have_text("Detecting")
    expect(page.locator("#job-text")).to_contain_text("of 40 photos")

    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    stack.model.go.set()

    _done(page, "Canceled")
    expect(page.locator("#job-text")).to_contain_text("canceled")
    expect(page.locator("#strip button")).to_have_count(40)
    page.locator("#strip button").last.click()
    expect(page.locator("#found-text")).to_have_text("The job was canceled before this photo's turn.")


@pytest.mark.process
def test_the_server_is_away_for_a_while(open_page: Callable[..., Page], stack: FrontStack) -> None:
    """The page says so, goes on asking, and shows the result when it is back."""
    page = open_page()
    stack.model.go.clear()
    _submit(page, _file("a.png"))
    page.context.set_offline(True)
    expect(page.locator("#job-text")).to_contain_text("The server does not answer.")
    stack.model.go.set()
    page.context.set_offline(False)

    _done(page)
    assert _has_box(page)


@pytest.mark.process
def test_an_upload_that_is_stopped(open_page: Callable[..., Page], stack: FrontStack) -> None:
    """A slow upload shows how far it is; stopped, it has made no job, and the photos are still chosen."""
    page = open_page()
    jobs = stack.redis.zcard("sl:jobs")
    page.set_input_files("#files", [_file("large.png", b"\0" * 3_000_000)])
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 300_000}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", slow)

    page.click("#submit")
    expect(page.locator("#upload-text")).to_contain_text("of 3.0 MB")
    wait_until(lambda: 0 < float(page.evaluate("document.getElementById('upload-bar').value")) < 1, what="progress")
    page.get_by_role("button", name="Stop").click()

    expect(page.locator("#upload")).to_be_hidden()
    expect(page.locator("#submit")).to_be_enabled()
    assert stack.redis.zcard("sl:jobs") == jobs


@pytest.mark.process
def test_a_job_that_there_is_not(open_page: Callable[..., Page]) -> None:
    """An old or wrong address is told as such, and the way on is there."""
    page = open_page("/#job=job_00000000000000000000000000000000")
    expect(page.locator("#job-title")).to_have_text("This job cannot be shown")
    expect(page.locator("#error")).to_contain_text("There is no job")
    page.get_by_role("button", name="New photos").click()
    expect(page.locator("#error")).to_be_hidden()
    expect(page.locator("#start")).to_be_visible()


def test_results_are_downloaded(open_page: Callable[..., Page], tmp_path: Path) -> None:
    """The links give files, named after the job."""
    page = open_page()
    _submit(page, _file("a.png"), _file("b.png"))
    _done(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON lines").click()
    _assert_downloaded(download.value, tmp_path / "results.jsonl")
    with page.expect_download() as download:
        page.get_by_role("link", name="COCO").click()
    download.value.save_as(tmp_path / "coco.json")
    assert download.value.suggested_filename.endswith("coco.json")
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 2


def _assert_downloaded(download: Download, path: Path) -> None:
    download.save_as(path)
    assert download.suggested_filename.startswith("job_")
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["a.png", "b.png"]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[FrontStack]:
    """A stack of its own: a server that ever had a key asks for one from then on."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    server.start()
    with front_stack(server, tmp_path, SHELFLINE_REQUIRE_KEYS="true") as found:
        yield found
    server.kill()


@pytest.mark.process
def test_a_server_that_asks_for_keys(open_page: Callable[..., Page], guarded: FrontStack, tmp_path: Path) -> None:
    """The page asks for the key, keeps it in the tab, and does everything with it: photos and downloads too."""
    link = RedisLink(guarded.settings.redis_url)
    secret, _ = KeyStore(link).create(KeyTerms(name="page", owner="page"))
    link.close()
    page = open_page(at=guarded.url)
    expect(page.get_by_label("API key")).to_be_focused()
    expect(page.locator("#error")).to_be_hidden()
    page.get_by_label("API key").fill("sl_" + "0" * 32)
    page.keyboard.press("Enter")
    expect(page.locator("#error")).to_contain_text("is unknown")
    page.get_by_label("API key").fill(secret)
    page.keyboard.press("Enter")
    expect(page.locator("#key-form")).to_be_hidden()
    expect(page.locator("#error")).to_be_hidden()

    _submit(page, _file("a.png"), _file("b.png"))
    _done(page)
    page.reload()
    _done(page)
    expect(page.locator("#photo")).to_be_visible()
    assert _has_box(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON lines").click()
    _assert_downloaded(download.value, tmp_path / "results.jsonl")

    other = open_page(page.url.removeprefix(guarded.url), at=guarded.url)  # the address alone opens nothing
    expect(other.get_by_label("API key")).to_be_visible()
    expect(other.locator("#strip button")).to_have_count(0)
    page.get_by_role("button", name="Forget API key").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0


@pytest.mark.process
def test_what_happens_is_announced(open_page: Callable[..., Page]) -> None:
    """Those who do not see the page are told when a job begins and ends, and the title says it as well."""
    page = open_page()
    _submit(page, _file("a.png"))
    _done(page)

    expect(page.get_by_role("status")).to_contain_text("Done. 1 photo done")
    assert page.title() == "Done \N{EN DASH} Shelfline"
    expect(page.locator("#photo")).to_have_attribute("alt", "a.png")
