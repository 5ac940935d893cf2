from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.commands.detect.journal import Journal, Part, find_run, opened_journal
from api.commands.detect.line_files import count_results
from api.commands.detect.photos import Photo
from api.commands.errors import OutputError, UsageError

PHOTOS = [Photo(f"{number}.jpg", f"/photos/{number}.jpg", number) for number in range(10)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def journal(out: Path) -> Iterator[Journal]:
    with opened_journal(out, "one", {"paths": ["/photos"]}) as made:
        made.add_photos(PHOTOS)
        for start, end in ((0, 4), (4, 8), (8, 10)):
            made.add_part(start, end)
        yield made


def _again(journal: Journal) -> Journal:
    return Journal(journal.folder, {})


def _keep(journal: Journal, part: Part, count: int, state: str = "succeeded") -> None:
    with journal.part_file(part).open("a") as file:
        for index in range(part.start + part.fetched, part.start + part.fetched + count):
            file.write(json.dumps({"index": index, "state": state}, separators=(",", ":")) + "\n")
    journal.recount()


def _merged(journal: Journal) -> list[int]:
    return [json.loads(line)["index"] for line in journal.results.read_text().splitlines()]


def test_it_is_read_as_it_was_written(journal: Journal) -> None:
    """Photos with any name, parts, jobs, results; the run keeps its name."""
    odd = Photo("\udcff\n.jpg", "/photos/\udcff\n.jpg", 3)
    journal.add_photos([odd])
    journal.accepted(journal.parts[4], "job_b", {5: "Permission denied"}, by_reference=False)
    _keep(journal, journal.parts[4], 2, "failed")

    again = _again(journal)

    assert (again.run, again.photos, again.parts) == (journal.run, [*PHOTOS, odd], journal.parts)
    assert (again.parts[4].job, again.parts[4].unreadable) == ("job_b", {5: "Permission denied"})
    assert (again.done, again.parts[4].failed, again.finished) == (2, 2, False)
    assert list(again.gaps()) == [(10, 11)]
    assert len({part.key for part in again.parts.values()}) == 3


def test_results_are_merged_in_order(journal: Journal) -> None:
    """A part waits for those before it; what is merged is only there once."""
    _keep(journal, journal.parts[4], 4)
    assert journal.merge() == []
    _keep(journal, journal.parts[0], 4, "failed")
    assert [part.start for part in journal.merge()] == [0, 4]
    _keep(journal, journal.parts[8], 1)
    assert journal.merge() == []
    assert _again(journal).done == 9
    _keep(journal, journal.parts[8], 1)
    journal.merge()

    assert _merged(journal) == list(range(10))
    assert (journal.done, journal.failed, journal.finished) == (10, 4, True)
    assert (_again(journal).done, _again(journal).failed, _again(journal).finished) == (10, 4, True)
    assert not list(journal.folder.glob("part-*"))


def test_a_cut(journal: Journal) -> None:
    """What has results keeps them; the rest is in no part, and a new one has another key."""
    before = journal.parts[4].key
    _keep(journal, journal.parts[0], 1)
    journal.cut(journal.parts[0])
    journal.cut(journal.parts[4])
    assert list(journal.gaps()) == [(1, 8)]
    journal.add_part(1, 4)
    journal.add_part(4, 8)

    again = _again(journal)

    assert {start: part.end for start, part in again.parts.items()} == {0: 1, 1: 4, 4: 8, 8: 10}
    assert again.parts[4].key != before
    assert again.parts[0].complete


@given(at=st.integers(0, 10_000), seed=st.integers(0, 100))
def test_killed_at_any_byte(tmp_path_factory: pytest.TempPathFactory, at: int, seed: int) -> None:
    """Whatever was appended last may be there in part: then it is not there, and no result is lost or doubled."""
    out = tmp_path_factory.mktemp("journal")
    with opened_journal(out, "one", {}) as journal:
        journal.add_photos(PHOTOS)
        journal.add_part(0, 10)
        part = journal.parts[0]
        _keep(journal, part, random.Random(seed).randrange(11))  # noqa: S311  no secret
        if part.complete and seed % 2:
            whole = journal.part_file(part).read_bytes()
            journal.results.write_bytes(whole[: at % (len(whole) + 1)])  # in the middle of a merge
        torn = [journal.part_file(part), journal.folder / "parts.jsonl"][seed % 2]
        content = torn.read_bytes()
        torn.write_bytes(content + b'{"index": 4, "na'[: at % 17])

        again = _again(journal)
        part = again.parts[0]
        _keep(again, part, part.size - part.fetched)
        again.merge()

        assert _merged(again) == list(range(10))


def test_one_command_at_a_time(journal: Journal, out: Path) -> None:
    """A second one on the same run is refused; another run in the same folder is not."""
    with pytest.raises(UsageError, match="Another command"), opened_journal(out, "one", {}):
        pass
    with opened_journal(out, "two", {}) as other:
        other.remove()
    assert journal.folder.exists()
    journal.remove()
    assert not (out / ".shelfline").exists()


def test_starting_over(out: Path) -> None:
    """Nothing of the interrupted run is left."""
    with opened_journal(out, "one", {}) as journal:
        journal.add_photos(PHOTOS)
        before = journal.run
    with opened_journal(out, "one", {}, restart=True) as journal:
        assert (journal.photos, journal.new, journal.run == before) == ([], True, False)


def test_a_journal_that_is_damaged(out: Path) -> None:
    """It is said in a line, with what helps; and that helps."""
    with opened_journal(out, "one", {}) as journal:
        journal.add_photos(PHOTOS)
        journal.add_part(0, 10)
    with journal._parts.open("a") as file:
        file.write("\0\0\n")
    with pytest.raises(UsageError, match="damaged: start over with --restart"), opened_journal(out, "one", {}):
        pass
    with opened_journal(out, "one", {}, restart=True) as journal:
        assert journal.new


def _without(name: str) -> Callable[[Journal], None]:
    return lambda journal: (journal.folder / name).unlink()


def _with(name: str, content: bytes) -> Callable[[Journal], None]:
    def write(journal: Journal) -> None:
        (journal.folder / name).write_bytes(content)

    return write


def _cut_off(name: str, lines: int) -> Callable[[Journal], None]:
    def cut(journal: Journal) -> None:
        file = journal.folder / name
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-lines]))

    return cut


@pytest.mark.parametrize(
    "harm",
    [
        _without("parts.jsonl"),
        _with("parts.jsonl", b""),
        _cut_off("parts.jsonl", 1),
        _cut_off("parts.jsonl", 2),
        _without("photos.jsonl"),
        _with("photos.jsonl", b""),
        _cut_off("photos.jsonl", 1),
        _without("run.json"),
        _with("run.json", b""),
        _with("part-9.jsonl", b'{"index":9,"state":"succeeded"}\n'),
        _with("part-4.jsonl", b'{"index":4,"state":"succeeded"}\n' * 5),
        _with("results.jsonl", b'{"index":0,"state":"succeeded"}\n' * 11),
    ],
)
def test_a_journal_that_has_lost_a_file(journal: Journal, out: Path, harm: Callable[[Journal], None]) -> None:
    """It is never gone on with, since photos would have two results; --restart helps."""
    _keep(journal, journal.parts[0], 4)
    journal.merge()
    _keep(journal, journal.parts[4], 2)
    _keep(journal, journal.parts[8], 1)
    harm(journal)
    again = out / "again"
    shutil.copytree(journal.folder, again / ".shelfline" / "one")

    with pytest.raises(UsageError, match="damaged: start over with --restart"), opened_journal(again, "one", {}):
        pass
    with opened_journal(again, "one", {}, restart=True) as anew:
        assert (anew.new, anew.photos, anew.parts, anew.merged) == (True, [], {}, 0)


@pytest.mark.parametrize("lost", ["results.jsonl", "part-4.jsonl", "contract.json"])
def test_a_journal_that_has_lost_only_results(journal: Journal, lost: str) -> None:
    """It is gone on with: what has no result on this disk is fetched or sent again, each photo once."""
    _keep(journal, journal.parts[0], 4)
    journal.merge()
    _keep(journal, journal.parts[4], 2)
    (journal.folder / lost).unlink(missing_ok=True)

    again = _again(journal)
    for part in again.parts.values():
        _keep(again, part, part.size - part.fetched)
    again.merge()

    assert _merged(again) == list(range(10))


def test_a_restart_that_is_killed(journal: Journal, out: Path) -> None:
    """Files of the old journal without its others are no new journal: the restart is asked for again."""
    journal.folder.joinpath("photos.jsonl").unlink()
    again = out / "again"
    shutil.copytree(journal.folder, again / ".shelfline" / "one")
    with pytest.raises(UsageError, match="--restart"), opened_journal(again, "one", {}):
        pass


def test_a_run_is_found_by_its_job(journal: Journal, out: Path) -> None:
    """Any of its jobs; and only whole ids."""
    journal.accepted(journal.parts[0], "job_abc", {}, by_reference=True)
    assert find_run(out, "job_abc") == {"paths": ["/photos"]}
    assert find_run(out, "job_ab") is None
    assert find_run(out / "missing", "job_abc") is None


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    """One error, that says where, why and what to do."""
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match=r"out.* cannot be written \(Not a directory\).*same command"):
        opened_journal(tmp_path / "out", "one", {}).__enter__()
    with opened_journal(tmp_path, "one", {}) as journal:
        journal.add_part(0, 1)
        (journal.folder / "parts.jsonl").unlink()
        (journal.folder / "parts.jsonl").mkdir()
        with pytest.raises(OutputError, match=r"parts\.jsonl cannot be written \(Is a directory\)"):
            journal.add_part(1, 2)


def test_lines_are_counted(tmp_path: Path) -> None:
    """Also of files longer than is read at once; a torn last line goes."""
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 3_000_000 + b"\n" + b"y\n" * 5 + b"z" * 2_000_000)
    assert count_results(path) == (6, 6)
    assert path.stat().st_size == 3_000_011
    assert count_results(tmp_path / "missing") == (0, 0)
