"""The page in Chromium, on the API as it is run, a real worker and a scripted model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.integration.api.page.conftest import assert_downloaded, done, drop, has_box, page_file, photo, submit
from tests.support.stacks.front_stack import FrontStack
from tests.support.zip_names import archive_named


def test_from_photos_to_boxes(open_page: Callable[..., Page]) -> None:
    """Chosen photos are sent, each is listed with what was found in it, and the box lies where the model says."""
    page = open_page()
    expect(page.locator("#model-hint")).to_have_text("version 1, knows 5 labels")
    expect(page.locator("#submit")).to_be_disabled()

    page.set_input_files("#files", [page_file("a.png"), page_file("b.jpg", photo(300, 600, "JPEG"))])
    expect(page.locator("#chosen-text")).to_contain_text("2 photos")
    page.get_by_role("button", name="Detect in 2 photos").click()

    done(page)
    expect(page.locator("#job-text")).to_contain_text("2 photos done")
    assert "#job=job_" in page.url
    expect(page.get_by_role("button", name="a.png: 1 detection")).to_have_attribute("aria-current", "true")
    expect(page.locator("#photo-facts")).to_have_text("400 \N{MULTIPLICATION SIGN} 300 pixels · default, version 1")
    assert has_box(page)
    page.get_by_role("button", name="b.jpg: 1 detection").click()
    expect(page.locator("#photo-name")).to_have_text("b.jpg")
    expect(page.locator("#photo")).to_be_visible()
    assert has_box(page)
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
        list(photo()),
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_have_class("drop over")
    for _ in range(2):
        page.dispatch_event("header", "drop", {"dataTransfer": transfer})
        expect(page.locator("#submit")).to_have_text("Detect in 2 photos")
    expect(page.locator("#drop")).to_have_class("drop")

    page.click("#submit")
    done(page)
    assert has_box(page)


def test_a_job_survives_a_reload(open_page: Callable[..., Page]) -> None:
    """The address is all that is needed: the photos come back from the server. Back leads to the start."""
    page = open_page()
    submit(page, page_file("a.png"), page_file("b.png"))
    done(page)

    page.reload()

    done(page)
    expect(page.locator("#photo")).to_be_visible()
    assert page.evaluate("document.getElementById('photo').naturalWidth") == 400
    assert has_box(page)
    page.get_by_role("button", name="New photos").click()
    expect(page.get_by_role("heading", name="Find products in photos")).to_be_focused()
    page.go_back()
    done(page)


@pytest.mark.process
def test_tiles_are_asked_for(open_page: Callable[..., Page], stack: FrontStack) -> None:
    """The model looks at as many tiles as were chosen, beside the whole photo."""
    page = open_page()
    page.get_by_label("Look at").select_option("2x2")
    stack.model.batches.clear()
    submit(page, page_file("a.png"))
    done(page)

    assert sum(stack.model.batches) == 5
    expect(page.locator("#found button")).not_to_have_count(0)


@pytest.mark.process
def test_the_slider_filters_at_once(open_page: Callable[..., Page]) -> None:
    """A higher score takes boxes off picture, list and strip; the page says how many are hidden."""
    page = open_page()
    submit(page, page_file("a.png"))
    done(page)
    expect(page.locator("#found-title")).to_have_text("Detections (1)")
    assert page.locator("#threshold").get_attribute("min") == "10"  # of the model's own

    page.locator("#threshold").fill("95")

    expect(page.locator("#found-title")).to_have_text("Detections (0)")
    expect(page.locator("#found-text")).to_have_text("Nothing has that score: lower it to see 1 more.")
    assert not has_box(page)
    page.locator("#threshold").fill("50")
    expect(page.locator("#found button")).to_have_count(1)
    assert has_box(page)


@pytest.mark.process
def test_list_and_picture_show_each_other(open_page: Callable[..., Page]) -> None:
    """Pointing at an entry, or focusing it, makes its box stand out, and pointing at the box its entry."""
    page = open_page()
    submit(page, page_file("a.png"))
    done(page)
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
    page.set_input_files("#files", [page_file(f"{number}.png") for number in range(3)])
    page.locator("#files").focus()
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["clear", "model", "tiles", "submit", ""]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    done(page)
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
    submit(page, *(page_file(f"a-long-name-without-any-space-in-it-{number}-{'x' * 80}.png") for number in range(9)))
    done(page)
    fits()
    assert has_box(page)
    page.locator("#strip button").nth(1).tap()
    expect(page.locator("#photo-name")).to_contain_text("in-it-1-")
    page.locator("#found button").tap()
    expect(page.locator("#found button")).to_have_attribute("aria-pressed", "true")


@pytest.mark.process
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(open_page: Callable[..., Page], scheme: str) -> None:
    """Every text has a contrast of 4.5 to its ground (WCAG 2.2 AA), in both colour schemes."""
    page = open_page(color_scheme=scheme)
    page.set_input_files("#files", [page_file("a.png"), page_file("broken.png", b"nothing")])
    poor = [*_poor_contrasts(page)]
    page.click("#submit")
    done(page, "Done, with failures")
    poor += _poor_contrasts(page)
    page.get_by_role("button", name="broken.png: failed").click()
    poor += _poor_contrasts(page)

    assert poor == []


def _poor_contrasts(page: Page) -> list[Any]:
    contrasts: list[Any] = page.evaluate(
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
    return contrasts


def test_results_are_downloaded(open_page: Callable[..., Page], tmp_path: Path) -> None:
    """The links give files, named after the job."""
    page = open_page()
    submit(page, page_file("a.png"), page_file("b.png"))
    done(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON lines").click()
    assert_downloaded(download.value, tmp_path / "results.jsonl")
    with page.expect_download() as download:
        page.get_by_role("link", name="COCO").click()
    download.value.save_as(tmp_path / "coco.json")
    assert download.value.suggested_filename.endswith("coco.json")
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 2


@pytest.mark.process
def test_what_happens_is_announced(open_page: Callable[..., Page]) -> None:
    """Those who do not see the page are told when a job begins and ends, and the title says it as well."""
    page = open_page()
    submit(page, page_file("a.png"))
    done(page)

    expect(page.get_by_role("status")).to_contain_text("Done. 1 photo done")
    assert page.title() == "Done \N{EN DASH} Shelfline"
    expect(page.locator("#photo")).to_have_attribute("alt", "a.png")


def test_what_was_left_out_is_said(open_page: Callable[..., Page], stack: FrontStack) -> None:
    """How many files of which kind an archive has beside its photos, and how names were read that do not say it."""
    names = ["货架.png".encode("gb18030"), b"a.heic", b"b.HEIC", b"README"]
    sent = httpx.post(
        f"{stack.url}/v1/jobs", content=archive_named(names), headers={"Content-Type": "application/zip"}
    ).json()
    page = open_page(f"/#job={sent['id']}")

    done(page, "1 photo failed")
    expect(page.locator("#job-text")).to_contain_text(
        "1 failed · 3 files left out: .heic (2), without a suffix (1) · names read as Chinese (GBK)"
    )
    expect(page.locator("#photo-name")).to_have_text("货架.png")


def test_a_dropped_folder(open_page: Callable[..., Page], tmp_path: Path) -> None:
    """Its photos are taken at any depth. Its other files are counted, except those that operating systems make."""
    shelves = tmp_path / "shelves"
    without = tmp_path / "without"
    of_systems = ("@eaDir/a.png/SYNOPHOTO.jpg", "b/.hidden.jpg", "Thumbs.db")
    names = ("a.png", "b/c.JPG", "x.heic", "b/y.heic", "z.txt", *of_systems)
    for file in (*(shelves / name for name in names), without / "x"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photo())
    page = open_page()

    drop(page, shelves)
    expect(page.locator("#chosen-text")).to_have_text(
        re.compile(r"^2 photos, .* · 3 files left out: .heic \(2\), .txt")
    )
    drop(page, shelves)
    expect(page.locator("#submit")).to_have_text("Detect in 2 photos")
    expect(page.locator("#chosen-text")).to_contain_text("3 files left out")

    page.get_by_role("button", name="Remove all").click()
    drop(page, without)
    expect(page.locator("#error")).to_have_text(
        "You dropped no photo (1 file left out: without a suffix (1)). Drop photos, or folders with photos."
    )
