"""`shelfline detect`: detect products in any number of photos, write the results and draw pictures of them.

If the command is interrupted, the same command continues the run.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from api.client.client import Options, ShelflineClient
from api.client.errors import ApiError
from api.client.multipart_body import open_photo
from api.commands.detect.arrivals import Arrivals
from api.commands.detect.journal import Journal, opened_journal
from api.commands.detect.output import Output
from api.commands.detect.photos import Collection, Photo
from api.commands.detect.pictures import ContentOf
from api.commands.detect.report import Report
from api.commands.detect.request import DetectRequest
from api.commands.detect.runner import Runner, Tally
from api.commands.detect.sending import Sender, Sharing
from api.commands.errors import UsageError
from api.commands.progress import drawing_progress, job_progress
from api.commands.stack.served_models import DEFAULT_MODEL
from api.commands.stack.session import Stack, local_stack
from api.commands.stack.state import StackState
from serving.errors import ShelflineError
from workers.results.labels import Labels
from workers.settings import Settings, load_settings

PATIENCE_SECONDS = 120.0  # longer than a broken upload keeps its idempotency key reserved
_NO_PATIENCE_SECONDS = 2.0


def run_detect(request: DetectRequest, *, console: Console, status: Console) -> int:
    """Detect, write the results and print the report; returns 0 if every image succeeded, else 1.

    `console` gets the report, `status` the progress. Raises UsageError, OutputError, StackError, ApiError,
    ConnectionFailedError. The results until then are kept, and the same call continues with them.
    """
    settings = load_settings()
    request = request.of_its_run()
    photos = request.photos()
    output = Output(request.out, request.max_pictures)
    with opened_journal(request.out, request.identity, request.run_arguments, restart=request.restart) as journal:
        return _Run(request, photos, output, journal, settings, console, status).run()


@dataclass
class _Run:
    """One call of the command."""

    request: DetectRequest
    collection: Collection
    output: Output
    journal: Journal
    settings: Settings
    console: Console
    status: Console
    drawn: int = 0  # results whose pictures have been drawn
    seconds: float = 0.0
    before: int = 0  # results that existed before this call

    def run(self) -> int:
        self._list_photos()
        journal, request = self.journal, self.request
        self.before = journal.done
        if self.before:
            self._say(f"Going on: {self.before:,} of {len(journal.photos):,} images are done.")
        if request.watch or not journal.finished or (request.formats and not journal.contract):
            with self.status.status("") as line, self._stack(line.update) as stack:
                line.stop()
                with self._client(stack) as client:
                    self._detect(client, stack)
                    if request.job:  # the photos are on the server
                        self._finish(lambda result: client.image(request.job or "", result["index"]))
        if not request.job:
            self._finish(self._content_here)
        written = self._write_formats()
        try:
            report = self._report(written)
        finally:  # also if the report's reader closes the pipe; a kill keeps the journal, and the report is repeated
            journal.remove()
        return 1 if report.failed else 0

    def _list_photos(self) -> None:
        """Add the photos that are not in the journal yet; some may be new since the run was interrupted."""
        known = {photo.path for photo in self.journal.photos}
        fixed = self.journal.parts and (self.request.selection.limit or self.request.selection.sample)
        if not fixed and not self.request.watch:
            self.journal.add_photos([photo for photo in self.collection.photos if photo.path not in known])

    def _stack(self, notify: Callable[[str], None]) -> AbstractContextManager[Stack]:
        if self.request.url:
            return nullcontext(Stack(self.request.url, shares_files=False, alive=lambda: None))
        state, model = StackState(self.request.state_folder), self.request.options.get("model")
        return local_stack(state, self.request.models, self.collection.roots, notify, model)

    def _client(self, stack: Stack, patience: float = PATIENCE_SECONDS) -> ShelflineClient:
        key = self.request.key or self.settings.own_key
        return ShelflineClient(stack.url, key=key, patience=patience, alive=stack.alive)

    def _detect(self, client: ShelflineClient, stack: Stack) -> None:
        """Detect all photos of the run that have no result yet."""
        for job_id in self.journal.abandoned:
            with suppress(ApiError):  # it may have ended, or be gone with its stack
                client.cancel(job_id)
        if self.request.job:
            self._take_job(client, self.request.job)
        options = self._options(client, stack)
        begin = time.monotonic()
        with job_progress(self.status) as bar:
            sender = Sender(client, self.journal, options, self._sharing(stack), self._say)
            arrivals = self._arrivals()

            def show(tally: Tally) -> None:
                more = f"{arrivals.waiting} being written" if arrivals and arrivals.waiting else ""
                bar.show_numbers(tally.done, tally.total, tally.failed, more)

            runner = Runner(
                client,
                self.journal,
                sender,
                show=show,
                arrived=partial(self._take_arrived, arrivals, sender) if arrivals else None,
                own_names=bool(self.request.job),
                say=self._say,
            )
            try:
                runner.run()
            except (KeyboardInterrupt, SystemExit):
                self._say(self._farewell(runner, stack))
                raise
            except ShelflineError:
                self._leave()
                stack.alive()  # if the stack has died, its error says more than the broken connection
                raise
            finally:
                self.seconds = time.monotonic() - begin
        if self.request.formats and (contract := client.contract(options.get("model"))):
            self.journal.keep_contract(contract)

    def _options(self, client: ShelflineClient, stack: Stack) -> Options:
        """Return the options of the run's jobs. If several models could be meant, say which one is used."""
        options = self.request.options
        if options.get("model") or self.request.job:
            return options
        try:
            default, *others = client.model_names()
        except (ShelflineError, ValueError):  # a key that may only submit does not see the models
            return options
        used = stack.model or default
        if others := [name for name in (default, *others) if name != used]:
            self._say(f"Using the model {used}. Also here, for --model: {', '.join(others)}.")
        elif used != DEFAULT_MODEL:
            self._say(f"Using the model {used}, the only one here.")
        return {**options, "model": stack.model} if stack.model else options

    def _sharing(self, stack: Stack) -> Sharing:
        if self.request.upload or not self.collection.roots:
            return Sharing.NO
        return Sharing.YES if stack.shares_files else Sharing.ASK

    def _take_job(self, client: ShelflineClient, job_id: str) -> None:
        job = client.job(job_id)
        while job.counts.total is None and not job.state.terminal:  # the server is still listing its images
            job = client.job(job_id, wait=1.0)
        if job.counts.total is None:
            raise UsageError(f"The job {job_id} has no images: {job.error.detail if job.error else job.state.value}")
        if not self.journal.photos:
            self.journal.add_photos([Photo("", "")] * job.counts.total)
        if not self.journal.parts:
            self.journal.add_part(0, job.counts.total)
            self.journal.accepted(self.journal.parts[0], job_id, {}, by_reference=True)

    def _arrivals(self) -> Arrivals | None:
        if not self.request.watch:
            return None
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # the kernel sends it to lease holders, see is_being_written
        self.output.publish(self.journal.results, growing=True)
        self.output.pictures.clear()
        self.output.pictures.replacing = True
        return Arrivals(self._look, self.journal.photos)

    def _look(self) -> Sequence[Photo]:
        with suppress(UsageError):  # a folder may be missing for a moment
            self.collection = self.request.photos()
            return self.collection.photos
        return ()

    def _take_arrived(self, arrivals: Arrivals, sender: Sender) -> bool:
        """Draw the results that were merged meanwhile, and add new photos; returns whether there are any."""
        if self.drawn < self.journal.merged:
            self._draw_more()
        photos = arrivals.take()
        if not self.collection.roots:  # a photo is a link out of the folders, so the server cannot read it
            sender.sharing = Sharing.NO
        if photos:
            self.journal.add_photos(photos)
        return bool(photos)

    def _content_here(self, result: Mapping[str, Any]) -> bytes:
        with open_photo(self.journal.photos[result["index"]].path) as file:
            return file.read()

    def _draw_more(self) -> None:
        """Draw the results that were merged since the last call."""
        results = self._last(self.output.read(self.drawn))
        self.drawn = self.journal.merged
        self._warn(self.output.pictures.draw(results, self._content_here, self.settings.max_image_pixels))

    def _last(self, results: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
        """Return the results without those of photos that were replaced later; their files have other content now."""
        photos = self.journal.photos
        last = {photo.path: index for index, photo in enumerate(photos)}
        return (result for result in results if last[photos[result["index"]].path] == result["index"])

    def _finish(self, content_of: ContentOf) -> None:
        """Publish the results and draw their pictures."""
        self.output.publish(self.journal.results)
        self.output.pictures.clear()
        total = min(self.journal.merged - self.journal.failed, self.request.max_pictures)
        with drawing_progress(self.status, total) as advance:
            undrawn = self.output.pictures.draw(self.output.read(), content_of, self.settings.max_image_pixels, advance)
        self._warn(undrawn)

    def _write_formats(self) -> list[str]:
        """Write the results in the requested formats; returns the paths."""
        contract = self.journal.contract
        labels = Labels([contract] if contract else [], self.request.options.get("min_score"))
        return [str(self.output.write_as(form, self.journal.run, labels)) for form in self.request.formats]

    def _report(self, written: Sequence[str] = ()) -> Report:
        """Print the report of all results and return it."""
        report = Report()
        for result in self.output.read():
            report.add(result)
        report.show(self.console)
        pictures, results = self.output.pictures, str(self.output.results)
        where = [results, *(path for path in written if path != results)]
        if self.request.max_pictures:
            limit = f" (the first {self.request.max_pictures:,}; more by --annotate)" if pictures.left_out else ""
            where.append(f"{pictures.folder}/{limit}")
        totals = report.totals(
            seconds=self.seconds, done=report.total - self.before, skipped=self.collection.skipped, written=where
        )
        self.console.print(totals, markup=False, highlight=False, soft_wrap=True)
        return report

    def _farewell(self, runner: Runner, stack: Stack) -> str:
        """Return the message at Ctrl-C: what is done, what the server goes on with, and how to continue.

        If the stack ends with this command, first fetch the results that are finished.
        """
        self.journal.recount()
        if stack.own:
            with self._client(stack, _NO_PATIENCE_SECONDS) as client:
                runner.rescue(client)
        if self.request.watch:
            self._report()
            return "Watching ended. The same command goes on from here."
        if not any(part.job for part in self.journal.parts.values()):
            return "Interrupted before a job was accepted. The same command starts again."
        tally = runner.tally()
        if stack.own:
            done = self.journal.done
            return (
                f"Interrupted: {done:,} of {tally.total:,} images are done and kept in {self.request.out}/. The stack "
                "stops with the command that started it. The same command goes on from here."
            )
        job = [part.job for part in self.journal.parts.values() if part.job][-1]
        unsent = f"; {tally.total - tally.sent:,} are not sent yet" if tally.sent < tally.total else ""
        how = "the same command" + (", which sends them" if unsent else "")
        out = "" if self.request.out == Path("out") else f" --out {self.request.out}"
        return (
            f"Interrupted: {tally.done:,} of {tally.total:,} images are done, {stack.url} goes on with "
            f"{tally.sent - tally.done:,}{unsent}. Come back by {how}, or by `shelfline detect --resume {job}{out}`."
        )

    def _leave(self) -> None:
        """Clean up after a failure: delete the journal of a new run without jobs, else say how to continue."""
        if not any(part.job for part in self.journal.parts.values()):
            if self.journal.new:
                self.journal.remove()
        else:
            self.journal.recount()
            done, total = self.journal.done, len(self.journal.photos)
            self._say(f"{done:,} of {total:,} images are done and kept. The same command goes on from there.")

    def _warn(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.status.print(text, style="yellow", markup=False, soft_wrap=True)

    def _say(self, text: str) -> None:
        self.status.print(text, markup=False, highlight=False, soft_wrap=True)
