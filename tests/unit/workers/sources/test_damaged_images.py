"""Damaged images: refused with what is wrong if a pixel is lost, shown as a browser shows them if none is."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.damaged_files import BESIDE_PIXELS_OF_JPEG, BESIDE_PIXELS_OF_PNG
from tests.support.image_files import (
    encoded,
    jpeg_with,
    noise,
    oriented,
    png_chunk,
    png_chunks,
    png_pixel_data,
    png_with,
    png_with_pixel_data,
    with_flipped_byte,
)
from workers.errors import ImageDecodeError, ImageError, ImageTooLargeError, UnsupportedFormatError
from workers.io.names import IMAGE_SUFFIXES
from workers.sources.decoding import FORMATS, decode, measure

LIMIT = 1_000_000
SCENE = noise(96, 64)
PNG = encoded(SCENE, "PNG")
JPEG = encoded(SCENE, "JPEG", quality=90)
VARIANTS = {
    "JPEG": JPEG,
    "progressive JPEG": encoded(SCENE, "JPEG", progressive=True),
    "PNG": PNG,
    "WEBP": encoded(SCENE, "WEBP"),
    "GIF": encoded(SCENE, "GIF"),
    "BMP": encoded(SCENE, "BMP"),
    "AVIF": encoded(SCENE, "AVIF"),
    "PPM": encoded(SCENE, "PPM"),
    **{
        f"TIFF {name}": encoded(SCENE, "TIFF", compression=name)
        for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")
    },
}


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode(content, LIMIT)[0])


def loaded_once(content: bytes) -> np.ndarray | None:
    """Return the pixels of the first and only load of an image, None if that fails."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return np.asarray(image.convert("RGB"))
    except Exception:  # noqa: BLE001  whatever Pillow's readers raise
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_first_load_refuses_is_refused(variant: str) -> None:
    """No damage passes because something loaded the pixels before, and its error was not seen."""
    content, refused = VARIANTS[variant], 0
    for at in range(60, len(content), len(content) // 40):
        damaged = with_flipped_byte(content, at)
        if loaded_once(damaged) is None:
            refused += 1
            with pytest.raises(ImageError):
                decode(damaged, LIMIT)
    assert refused or variant != "PNG"


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_png_with_a_flipped_byte_in_its_pixels_is_refused(share: float) -> None:
    """What cannot be decoded is not black, whether the checksum of the chunk is right or wrong."""
    data = png_pixel_data(PNG)
    flipped = with_flipped_byte(data, int(len(data) * share))
    for damaged in (png_with_pixel_data(PNG, flipped), PNG.replace(data, flipped)):
        with pytest.raises(ImageDecodeError, match="damaged PNG"):
            decode(damaged, LIMIT)


@pytest.mark.parametrize("rows", [0, 1, 32, 63])
def test_a_png_with_too_few_rows_is_refused(rows: int) -> None:
    """Pixel data that are valid, but end before the last row."""
    for more in (0, 7):
        some = zlib.compress(zlib.decompress(png_pixel_data(PNG))[: rows * (1 + 96 * 3) + more])
        with pytest.raises(ImageDecodeError, match="damaged PNG"):
            decode(png_with_pixel_data(PNG, some), LIMIT)


@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (2, 3), (4, 3), (8, 0), (8, 2), (8, 3), (8, 4), (8, 6), (16, 2)])
@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (9, 1), (1, 9), (17, 12)])
def test_a_png_is_whole_with_its_last_row_black(
    bits: int, colour: int, interlaced: int, width: int, height: int
) -> None:
    """Every layout of pixels, all of them zero: accepted whole, refused if one byte is missing."""
    bits_a_pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    grids = [(0, 0, 1, 1)]
    if interlaced:
        grids = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    for left, top, across, down in grids:
        columns, rows = len(range(left, width, across)), len(range(top, height, down))
        data += bytes(1 + -(-columns * bits_a_pixel // 8)) * rows if columns else b""

    def png(body: bytes) -> bytes:
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
        palette = png_chunk(b"PLTE", bytes(3 * 2**bits)) if colour == 3 else b""
        idat = png_chunk(b"IDAT", zlib.compress(body))
        return b"\x89PNG\r\n\x1a\n" + header + palette + idat + png_chunk(b"IEND", b"")

    assert pixels(png(data)).shape == (height, width, 3)
    row = 1 + -(-len(range(grids[-1][0], width, grids[-1][2])) * bits_a_pixel // 8)
    for missing in (1, row):  # a byte, and a whole row of the last pass that has one
        with pytest.raises(ImageDecodeError):
            decode(png(data[:-missing]), LIMIT)


def test_a_png_with_another_pixel_than_its_checksums_say_is_refused() -> None:
    """Data that inflate whole, although a byte of them was changed."""
    data = zlib.compress(zlib.decompress(png_pixel_data(PNG)), 0)
    content = png_with_pixel_data(PNG, data)
    assert (pixels(content) == np.asarray(SCENE)).all()
    with pytest.raises(ImageDecodeError, match=r"damaged PNG \(broken data stream"):
        decode(content.replace(data, with_flipped_byte(data, len(data) // 2)), LIMIT)


@pytest.mark.parametrize(
    "replacement", [b"", png_chunk(b"PLTE", b""), png_chunk(b"pLTE", b"123"), png_chunk(b"PL\0E", b"123")]
)
def test_a_png_without_its_palette_is_refused(replacement: bytes) -> None:
    """Its pixels are numbers of colours; they are no shades of grey."""
    content = encoded(SCENE.quantize(60), "PNG")
    palette = next(part for kind, part in png_chunks(content) if kind == b"PLTE")
    assert len(np.unique(pixels(content).reshape(-1, 3), axis=0)) > 16
    with pytest.raises(ImageDecodeError, match="damaged PNG"):
        decode(content.replace(palette, replacement), LIMIT)


def test_a_png_whose_palette_stands_before_its_header_is_refused() -> None:
    """No other reader takes it; a text there is left out."""
    content = encoded(SCENE.quantize(60), "PNG")
    palette = next(part for kind, part in png_chunks(content) if kind == b"PLTE")
    with pytest.raises(ImageDecodeError, match="its header does not come first"):
        decode(content[:8] + palette + content[8:].replace(palette, b""), LIMIT)
    assert (pixels(PNG[:8] + png_chunk(b"tEXt", b"Comment\0text") + PNG[8:]) == np.asarray(SCENE)).all()


@pytest.mark.parametrize("kept", [0.5, 0.99])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_tiff_with_a_cut_jpeg_is_refused(place: str, kept: float) -> None:
    """A strip that ends early is neither grey nor accepted, whether its data are cut off or zeros."""
    content = encoded(noise(96, 640), "TIFF", compression="jpeg")
    with Image.open(io.BytesIO(content)) as image:
        offsets, sizes = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    assert len(sizes) > 1
    number = {"first": 0, "last": -1}[place]
    offset, size = offsets[number], sizes[number]
    end = offset + int(size * kept)
    zeros = content[:end] + bytes(offset + size - end) + content[offset + size :]
    counts = struct.pack(f"<{len(sizes)}I", *sizes)
    cut = content.replace(counts, struct.pack(f"<{len(sizes)}I", *(end - offset if n == size else n for n in sizes)))
    assert pixels(content).shape == (640, 96, 3)
    assert cut != content
    for damaged in (zeros, cut):
        with pytest.raises(ImageDecodeError, match=r"damaged TIFF \(its pixel data end too early\)"):
            decode(damaged, LIMIT)


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw"])
def test_a_tiff_that_is_whole_passes(compression: str) -> None:
    """In strips, however its JPEG is filled up."""
    content = encoded(noise(96, 640, "L"), "TIFF", compression=compression)
    assert pixels(content).shape == (640, 96, 3)


def test_a_png_that_lacks_no_pixel_passes() -> None:
    """A wrong checksum of pixel data that inflate whole, and a missing IEND."""
    data = png_pixel_data(PNG)
    at = PNG.index(data) + len(data)
    for damaged in (with_flipped_byte(PNG, at), PNG[:-12]):
        assert (pixels(damaged) == np.asarray(SCENE)).all()


@pytest.mark.parametrize("behind_pixels", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("chunk", BESIDE_PIXELS_OF_PNG)
def test_damage_beside_the_pixels_of_a_png_does_not_matter(chunk: str, *, behind_pixels: bool) -> None:
    """Each ancillary chunk that Pillow fails at, before the pixels and behind them: the same pixels and size."""
    damaged = png_with(PNG, BESIDE_PIXELS_OF_PNG[chunk], behind_pixels=behind_pixels)
    assert (pixels(damaged) == np.asarray(SCENE)).all()
    assert measure(damaged) == SCENE.size


def test_intact_chunks_of_a_damaged_png_keep_their_meaning() -> None:
    """A bad chunk of text takes neither the transparency nor the orientation with it."""
    bad = png_chunk(b"tEXt", b"Comment\0text", wrong_checksum=True)
    clear = encoded(Image.new("RGB", (3, 3), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert pixels(png_with(clear, bad)).min() == 255
    turned = oriented("PNG", 6)
    assert (pixels(png_with(turned, bad)) == pixels(turned)).all()
    assert decode(png_with(turned, bad), LIMIT)[1:] == (60, 40)


def test_damaged_pixels_and_damage_beside_them_are_refused() -> None:
    """A repair does not hide lost pixels, and says what is wrong with these."""
    bad = png_chunk(b"tEXt", b"Comment\0text", wrong_checksum=True)
    flipped = with_flipped_byte(PNG, PNG.index(png_pixel_data(PNG)) + 300)
    with pytest.raises(ImageDecodeError, match=r"damaged PNG \(broken data stream"):
        decode(png_with(flipped, bad), LIMIT)
    header = with_flipped_byte(PNG, PNG.index(b"IHDR") + 11)  # of a critical chunk
    with pytest.raises(ImageDecodeError, match="checksum in b'IHDR'"):
        decode(header, LIMIT)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("segment", BESIDE_PIXELS_OF_JPEG)
def test_damage_beside_the_pixels_of_a_jpeg_does_not_matter(segment: str) -> None:
    """Each segment of an application that Pillow fails at: the same pixels and size."""
    damaged = jpeg_with(JPEG, BESIDE_PIXELS_OF_JPEG[segment])
    assert (pixels(damaged) == pixels(JPEG)).all()
    assert measure(damaged) == SCENE.size


def test_a_repaired_jpeg_keeps_its_orientation() -> None:
    """The EXIF block stays, and so does the profile."""
    turned = oriented("JPEG", 6)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for content in (turned, encoded(SCENE, "JPEG", icc_profile=profile)):
        damaged = jpeg_with(content, BESIDE_PIXELS_OF_JPEG["short APP14"])
        assert (pixels(damaged) == pixels(content)).all()
        assert decode(damaged, LIMIT)[1:] == decode(content, LIMIT)[1:]


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_exif_block_of_an_avif_does_not_matter() -> None:
    """Pillow's reader fails at it before it looks at the picture."""
    exif = Image.Exif()
    exif[0x010E] = "a shelf"
    content = encoded(SCENE, "AVIF", exif=exif)
    damaged = content.replace(b"MM\0*\0\0\0\x08", b"XX\0*\0\0\0\x08")
    assert damaged != content
    assert (pixels(damaged) == pixels(content)).all()


WITHOUT_END: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 4},
    "4:4:4": {"subsampling": 0},
    "progressive 4:4:4": {"progressive": True, "subsampling": 0},
}


@pytest.mark.parametrize("kind", WITHOUT_END)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_lacks_only_its_end_marker_is_shown(kind: str, mode: str) -> None:
    """No pixel differs, with half of the marker or none of it, and with zeros in its place."""
    content = encoded(SCENE.convert(mode), "JPEG", **WITHOUT_END[kind])
    for damaged in (content[:-2], content[:-1], content[:-2] + bytes(700)):
        assert (pixels(damaged) == pixels(content)).all()


@pytest.mark.parametrize("kind", WITHOUT_END)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_a_jpeg_that_is_cut_in_a_scan_is_refused(kind: str, share: float) -> None:
    """Pixels are lost, and the error says so."""
    content = encoded(SCENE, "JPEG", quality=90, **WITHOUT_END[kind])
    begin = content.index(b"\xff\xda") + 12
    with pytest.raises(ImageDecodeError, match=r"damaged JPEG \(image file is truncated"):
        decode(content[: begin + int((len(content) - begin) * share)], LIMIT)


def half(width: int, height: int) -> tuple[int, int]:
    """Ask the decoder for a reduced image, as for a small model."""
    return width // 16, height // 16


SCANS: dict[str, dict[str, Any]] = {
    **WITHOUT_END,
    "4:1:1": {"subsampling": 2},
    "restarts in rows": {"restart_marker_rows": 1},
}
SMOOTH = noise(9, 6, seed=7).resize((600, 410), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("needed", [None, half], ids=["whole", "reduced"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", SCANS)
def test_a_jpeg_whose_data_end_too_early_is_refused(kind: str, mode: str, needed: Any) -> None:
    """Its last blocks are grey, whether the end marker came too early or was added to a part of the file."""
    content = encoded(SMOOTH.convert(mode), "JPEG", quality=90, **SCANS[kind])
    begin = content.index(b"\xff\xda") + 14
    # Data that are lost from the first scan of a progressive JPEG are lost for good; later ones make it sharper.
    next_scan = content.find(b"\xff\xc4", begin)
    end = next_scan if next_scan > 0 else len(content)
    assert decode(content, LIMIT, needed)[1:] == SMOOTH.size
    for share in (0.1, 0.5, 0.9):
        cut = begin + int((end - begin) * share)
        for damaged in (content[:cut] + content[-2:], content[:cut] + content[-2:] + content[cut:]):
            with pytest.raises(ImageDecodeError, match=r"damaged JPEG \(its pixel data end too early\)"):
                decode(damaged, LIMIT, needed)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("rows", [False, True])
def test_a_restart_interval_that_ends_too_early_is_refused(mode: str, *, rows: bool) -> None:
    """The blocks up to the next restart marker are grey, and those behind it are right."""
    options = {"restart_marker_rows": 1} if rows else {"restart_marker_blocks": 12}
    content = encoded(SMOOTH.convert(mode), "JPEG", quality=90, **options)
    second, third = (content.index(bytes((0xFF, marker))) for marker in (0xD1, 0xD2))
    damaged = content[: (second + third) // 2] + content[third:]
    for needed in (None, half):
        with pytest.raises(ImageDecodeError, match="its pixel data end too early"):
            decode(damaged, LIMIT, needed)


def test_bytes_between_segments_hide_no_lost_blocks() -> None:
    """The decoder skips them, and markers without a body."""
    content = encoded(SMOOTH, "JPEG", quality=90)
    cut = content[: (content.index(b"\xff\xda") + len(content)) // 2] + b"\xff\xd9"
    at = content.index(b"\xff\xdb")
    for between in (b"\0\0\0", b"\xff\xff\xff", b"\xff\x01", b"\xff\xd0", b"\xff\0"):
        assert (pixels(content[:at] + between + content[at:]) == pixels(content)).all()
        with pytest.raises(ImageDecodeError, match="its pixel data end too early"):
            decode(cut[:at] + between + cut[at:], LIMIT)


def test_a_jpeg_that_lacks_its_last_restart_intervals_is_refused() -> None:
    """Zeros up to its end, say of a disk: the decoder looks for the next restart marker in them."""
    content = encoded(SMOOTH, "JPEG", quality=90, restart_marker_blocks=12)
    at = content.index(b"\xff\xd2")
    for damaged in (content[:at] + bytes(len(content) - at), content[:at] + b"\xff\xd9"):
        with pytest.raises(ImageDecodeError, match="damaged JPEG"):
            decode(damaged, LIMIT)


@pytest.mark.parametrize("kind", SCANS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_grey_is_whole(kind: str, mode: str) -> None:
    """The grey of blocks that were not decoded may be in the picture."""
    grey = SMOOTH.convert(mode)
    grey.paste((127 if mode == "CMYK" else 128,) * len(mode), (0, 200, *grey.size))
    content = encoded(grey, "JPEG", quality=90, **SCANS[kind])
    for whole in (content, content[:-2], content[:-2] + bytes(40) + content[-2:], content + b"more"):
        assert (pixels(whole) == pixels(content)).all()


def test_a_progressive_jpeg_is_refused_between_two_scans() -> None:
    """Each scan that is there is complete, but the picture is not."""
    content = encoded(SCENE, "JPEG", progressive=True)
    begin = content.index(b"\xff\xda")
    cuts = [at for at in range(begin + 1, len(content) - 1) if content[at : at + 2] in {b"\xff\xda", b"\xff\xc4"}]
    assert len(cuts) > 5
    for cut in cuts:
        with pytest.raises(ImageDecodeError):
            decode(content[:cut], LIMIT)


def test_a_large_damaged_jpeg_is_refused_before_it_is_decoded() -> None:
    """The limit of pixels holds for an image that is to be repaired."""
    content = jpeg_with(encoded(Image.new("L", (1100, 1000)), "JPEG")[:-2], BESIDE_PIXELS_OF_JPEG["short APP14"])
    with pytest.raises(ImageTooLargeError):
        decode(content, LIMIT)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_damaged_image_is_told_from_what_is_none(variant: str) -> None:
    """Cut anywhere behind its first bytes, a file is called a damaged image of its format, and the error says why."""
    content, name = VARIANTS[variant], variant.split()[-1 if "JPEG" in variant else 0]
    for end in (20, 40, 60, len(content) // 4, len(content) // 2):
        with pytest.raises(
            ImageDecodeError, match=rf"^The file is a damaged {name} \([^()].*\): send an intact copy\.$"
        ):
            decode(content[:end], LIMIT)


@pytest.mark.parametrize(
    "content", [b"BMW is a car, and this is a text about it.", b"P3P: policy", b"II and MM", b"GIF", b"P7\nWIDTH 2\n"]
)
def test_a_text_that_begins_like_an_image_is_none(content: bytes) -> None:
    """The two letters of some formats are not enough."""
    with pytest.raises(UnsupportedFormatError, match="not an image of a supported format: JPEG, PNG"):
        decode(content, LIMIT)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(PNG.replace(b"\r\n", b"\n", 1), "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"RIFF\xff\0\0\0WEBPVP8", "WEBP")],
)
def test_a_damaged_header_is_no_other_format(content: bytes, kind: str) -> None:
    """Where Pillow's reader says that it is not a file of its format, the first bytes say that it is."""
    with pytest.raises(ImageDecodeError, match=rf"^The file is a damaged {kind} \(its header is damaged\): send"):
        decode(content, LIMIT)


def test_an_intact_image_of_a_rare_kind_is_not_called_damaged() -> None:
    """What no reader knows is unsupported."""
    odd = encoded(SCENE, "BMP")
    odd = odd[:30] + struct.pack("<I", 99) + odd[34:]  # its compression
    with pytest.raises(UnsupportedFormatError, match=r"Unsupported BMP compression \(99\)"):
        decode(odd, LIMIT)


def test_a_format_that_is_decoded_is_listed() -> None:
    """Each format has a suffix by which folders, stores and archives take its files, and each suffix has a format."""
    Image.init()
    formats = {Image.registered_extensions()[suffix] for suffix in IMAGE_SUFFIXES}
    assert formats == {*FORMATS, "MPO"}  # a JPEG with more pictures behind it
