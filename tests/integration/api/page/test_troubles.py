"""The page where something is wrong: photos, names, jobs, the server, the key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.integration.api.page.conftest import (
    HOSTILE,
    assert_downloaded,
    done,
    has_box,
    page_file,
    photo,
    submit,
)
from tests.support.polling import wait_until
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.front_stack import FrontStack, front_stack
from workers.io.redis_link import RedisLink
from workers.store.api_keys import KeyStore, KeyTerms


def test_a_photo_that_fails_says_why(open_page: Callable[..., Page]) -> None:
    """Its reason stands where the detections of the others do; the others are as if it were not there."""
    page = open_page()
    submit(page, page_file("broken.png", b"nothing"), page_file("good.png"))
    done(page, "Done, with failures")
    expect(page.locator("#job-text")).to_contain_text("1 photo done · 1 failed")

    expect(page.get_by_role("button", name="broken.png: failed")).to_have_attribute("aria-current", "true")
    expect(page.locator("#failure")).to_contain_text("unsupported_format")
    expect(page.locator("#stage-text")).to_have_text("The photo cannot be shown here.")
    page.get_by_role("button", name="Next photo").click()
    expect(page.locator("#failure")).to_be_hidden()
    expect(page.locator("#found button")).to_have_count(1)
    assert has_box(page)


@pytest.mark.process
def test_a_photo_that_browsers_do_not_show(open_page: Callable[..., Page]) -> None:
    """The server's own drawing takes its place, so that the boxes are seen all the same; ours are not drawn over it."""
    page = open_page()
    submit(page, page_file("scan.tif", photo(kind="TIFF")))
    done(page)

    expect(page.locator("#photo")).to_be_visible()
    assert page.evaluate("document.getElementById('photo').naturalWidth") == 400
    expect(page.locator("#boxes")).to_have_attribute("data-drawn", "0")
    expect(page.locator("#found button")).to_have_count(1)


@pytest.mark.process
def test_names_and_labels_are_text(open_page: Callable[..., Page]) -> None:
    """Markup in a file's name, a label, an id in the address: all of it is shown as it is, none of it is markup."""
    page = open_page()
    submit(
        page, page_file(f"{HOSTILE}.png"), page_file("javascript:window.hacked=1", b"<svg onload='window.hacked=1'>")
    )
    done(page, "Done, with failures")

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
    submit(page, *(page_file(f"{number}.png", photo(32, 32)) for number in range(40)))
    expect(page.locator("#job-title")).to_have_text("Detecting")
    expect(page.locator("#job-text")).to_contain_text("of 40 photos")

    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    stack.model.go.set()

    done(page, "Canceled")
    expect(page.locator("#job-text")).to_contain_text("canceled")
    expect(page.locator("#strip button")).to_have_count(40)
    page.locator("#strip button").last.click()
    expect(page.locator("#found-text")).to_have_text("The job was canceled before this photo's turn.")


@pytest.mark.process
def test_the_server_is_away_for_a_while(open_page: Callable[..., Page], stack: FrontStack) -> None:
    """The page says so, goes on asking, and shows the result when it is back."""
    page = open_page()
    stack.model.go.clear()
    submit(page, page_file("a.png"))
    page.context.set_offline(True)
    expect(page.locator("#job-text")).to_contain_text("The server does not answer.")
    stack.model.go.set()
    page.context.set_offline(False)

    done(page)
    assert has_box(page)


@pytest.mark.process
def test_an_upload_that_is_stopped(open_page: Callable[..., Page], stack: FrontStack) -> None:
    """A slow upload shows how far it is; stopped, it has made no job, and the photos are still chosen."""
    page = open_page()
    jobs = stack.redis.zcard("sl:jobs")
    page.set_input_files("#files", [page_file("large.png", b"\0" * 3_000_000)])
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


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[FrontStack]:
    """A stack of its own: a server that ever had a key asks for one from then on."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    server.start()
    with front_stack(server, tmp_path, SHELFLINE_REQUIRE_KEYS="true") as stack:
        yield stack
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

    submit(page, page_file("a.png"), page_file("b.png"))
    done(page)
    page.reload()
    done(page)
    expect(page.locator("#photo")).to_be_visible()
    assert has_box(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON lines").click()
    assert_downloaded(download.value, tmp_path / "results.jsonl")

    other = open_page(page.url.removeprefix(guarded.url), at=guarded.url)  # the address alone opens nothing
    expect(other.get_by_label("API key")).to_be_visible()
    expect(other.locator("#strip button")).to_have_count(0)
    page.get_by_role("button", name="Forget API key").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
