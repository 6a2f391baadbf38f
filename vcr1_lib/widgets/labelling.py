"""Play your own clips and say when things happen: two handles, a sentence, save.

The frames shown are the ones that :func:`vcr1_lib.video.read_clip` decodes, so a handle can only
stand where a frame of the clip starts, by the clip's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

import ipywidgets
import numpy as np

from vcr1_lib.datasets.labels import Label, read_labels, remove_label, write_label
from vcr1_lib.video import Clip, VideoError, read_clip
from vcr1_lib.video.prescan import ScanReport, find_videos
from vcr1_lib.widgets.drawings import picture

NUM_FRAMES: Final = 400
VIEW_PIXELS: Final = 48_000
# A notebook's kernel can send about this many pictures a second to a far browser.
PLAY_MS: Final = 100
# A choice of None would show as an empty field; lines count from 1.
NEW: Final = 0
STYLE: Final = {"description_width": "70px"}
WIDE: Final = {"width": "640px"}


def span_options(clip: Clip) -> list[tuple[str, float]]:
    """Return where a span may start and end: the frames' times, and the clip's end.

    >>> clip = Clip(np.zeros((2, 4, 4, 3), np.uint8), np.array([0.0, 0.5]), 1.0, "a.mp4")
    >>> span_options(clip)
    [('0.000 s', 0.0), ('0.500 s', 0.5), ('1.000 s', 1.0)]
    """
    times = [float(second) for second in clip.times_seconds]
    if clip.duration_seconds > times[-1]:
        times.append(clip.duration_seconds)
    return [(f"{second:.3f} s", second) for second in times]


def label_rows(labels: Mapping[int, Label]) -> str:
    """Write labels as an HTML table, a line of the file a row."""
    if not labels:
        return "<p>No label of this clip yet.</p>"
    rows = "".join(
        f"<tr><td>{line}</td><td>{start:.3f}</td><td>{end:.3f}</td>"
        f"<td style='text-align:left'>{escape(query)}</td></tr>"
        for line, (_, query, (start, end), _) in labels.items()
    )
    return (
        "<table border='1' cellpadding='4' style='border-collapse:collapse;text-align:right'>"
        "<caption>labels of this clip</caption><tr><th>line</th><th>start (s)</th><th>end (s)</th>"
        f"<th>what happens</th></tr>{rows}</table>"
    )


class SpanLabeller(ipywidgets.VBox):
    """Play the clips below a folder, and save when things happen as JSON lines.

    It opens at the first clip without a label, so work goes on where it stopped. A clip that
    cannot be read is named and skipped when its turn comes.

    Args:
        folder: The clips; those in folders below count too.
        path: The file, such as ``"labels.jsonl"``; :func:`vcr1_lib.datasets.read_jsonl` reads it
            with ``videos=folder``.
        report: Of :func:`vcr1_lib.video.prescan.scan`; what that could not read stays closed.
        num_frames: At most so many frames of a clip can be seen and chosen, spread evenly.

    Raises:
        FileNotFoundError: If there is no such folder, or no video in it.
        VideoError: If none of the clips can be read.
        AnnotationError: If the file is there and a line of it cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        path: str | Path,
        *,
        report: ScanReport | None = None,
        num_frames: int = NUM_FRAMES,
    ) -> None:
        self._folder, self._path, self._num_frames = Path(folder), Path(path), num_frames
        self.clips = [p.relative_to(folder).as_posix() for p in find_videos(folder)]
        self.labels = read_labels(path)
        bad = report.bad if report else {}
        whys = {Path(name).resolve(): why for name, why in bad.items()}
        places = {name: (self._folder / name).resolve() for name in self.clips}
        self.unreadable = {name: whys[p] for name, p in places.items() if p in whys}
        self._make_controls()
        self._quiet = False
        self._go(next(iter(self._unlabelled()), 0))
        self._connect()

    def _make_controls(self) -> None:
        self.clip = ipywidgets.Dropdown(description="clip", style=STYLE, layout=WIDE)
        self.previous = ipywidgets.Button(description="previous clip")
        self.next = ipywidgets.Button(description="next clip")
        self.skip = ipywidgets.Button(description="next without label")
        self.play = ipywidgets.Play(description="play the clip")
        self.frame = ipywidgets.IntSlider(description="frame", style=STYLE, layout=WIDE)
        self._link = ipywidgets.jslink((self.play, "value"), (self.frame, "value"))
        self.start_here = ipywidgets.Button(
            description="starts here", tooltip="the frame on show is the first of the moment"
        )
        self.end_here = ipywidgets.Button(
            description="ends here", tooltip="the frame on show is the last of the moment"
        )
        self.span = ipywidgets.SelectionRangeSlider(
            options=[("", 0.0), (" ", 1.0)], description="from, to", style=STYLE, layout=WIDE
        )
        self.query = ipywidgets.Text(
            description="what", placeholder="the door opens.", style=STYLE, layout=WIDE
        )
        self.label = ipywidgets.Dropdown(description="label", style=STYLE, layout=WIDE)
        self.save = ipywidgets.Button(description="save label", button_style="primary")
        self.remove = ipywidgets.Button(description="remove label")
        self.view, self.ends = ipywidgets.HTML(), ipywidgets.HTML()
        self.table, self.status = ipywidgets.HTML(), ipywidgets.HTML()
        row = ipywidgets.HBox
        super().__init__([
            row([self.previous, self.next, self.skip]), self.clip,
            row([self.view, self.ends]), row([self.play, self.start_here, self.end_here]),
            self.frame, self.span, self.query, self.label, row([self.save, self.remove]),
            self.status, self.table,
        ])  # fmt: skip

    def _connect(self) -> None:
        self.clip.observe(self._on_clip, "value")
        self.label.observe(self._on_label, "value")
        self.frame.observe(self._on_frame, "value")
        self.span.observe(self._on_span, "index")
        self.previous.on_click(lambda _: self._go(self.clip.index - 1, -1))
        self.next.on_click(lambda _: self._go(self.clip.index + 1))
        self.skip.on_click(self._on_skip)
        self.start_here.on_click(lambda _: self._mark(start=self.frame.value))
        self.end_here.on_click(lambda _: self._mark(end=self.frame.value + 1))
        self.save.on_click(self._on_save)
        self.remove.on_click(self._on_remove)

    def _unlabelled(self) -> list[int]:
        told = {label.video for label in self.labels.values()} | set(self.unreadable)
        return [i for i, name in enumerate(self.clips) if name not in told]

    def _left(self) -> str:
        return f"clips without a label: {len(self._unlabelled())}"

    def _read(self, name: str) -> Clip | None:
        if name not in self.unreadable:
            try:
                name.encode()
                return read_clip(
                    self._folder / name, num_frames=self._num_frames, max_pixels=VIEW_PIXELS
                )
            except UnicodeEncodeError:
                self.unreadable[name] = f"{name!r} is not a name in UTF-8: rename the file"
            except (VideoError, OSError) as error:
                self.unreadable[name] = str(error)
        return None

    def _go(self, index: int, step: int = 1) -> None:
        """Show a clip or, where it cannot be read, the next that can, that way round."""
        skipped = []
        for away in range(len(self.clips)):
            place = (index + step * away) % len(self.clips)
            name = self.clips[place]
            clip = self._read(name)
            if clip is not None:
                break
            skipped.append(f"skipped {name}: {self.unreadable[name]}")
        else:
            raise VideoError(f"no clip below {self._folder} can be read: {'; '.join(skipped)}")
        self.shown = clip
        self._fill(place)
        self._say(*skipped, f"{name}: {clip.duration_seconds:.2f} s; {self._left()}")

    def _fill(self, place: int) -> None:
        """Put a clip's frames and labels into the controls."""
        self._quiet = True
        count, options = len(self.shown.frames), span_options(self.shown)
        frame_ms = max(1.0, 1000 * self.shown.duration_seconds / count)
        # ipywidgets 7, which Colab has, names it otherwise.
        self.play.set_trait("playing" if self.play.has_trait("playing") else "_playing", False)
        self.play.max = self.frame.max = count - 1
        self.play.step = max(1, round(PLAY_MS / frame_ms))
        self.play.interval = round(self.play.step * frame_ms)
        self.play.value = self.frame.value = 0
        self._list_clips(place)
        self.span.options = options
        self.span.index = (0, len(options) - 1)
        self.query.value = ""
        self._quiet = False
        self._list_labels()
        self._on_frame()
        self._on_span()

    def _list_clips(self, place: int) -> None:
        counts = [sum(x.video == name for x in self.labels.values()) for name in self.clips]
        told = ["cannot be read" if n in self.unreadable else "" for n in self.clips]
        told = [t or f"labels: {count}" for t, count in zip(told, counts, strict=True)]
        self.clip.options = [
            (f"{i + 1}. {name.encode(errors='replace').decode()} ({t})", i)
            for i, (name, t) in enumerate(zip(self.clips, told, strict=True))
        ]
        self.clip.value = place

    def _list_labels(self) -> None:
        mine = {n: x for n, x in self.labels.items() if x.video == self.clips[self.clip.value]}
        was_quiet, self._quiet = self._quiet, True
        self.label.options = [("new", NEW), *((f"line {n}: {mine[n].query}", n) for n in mine)]
        self.label.value = NEW
        self._quiet = was_quiet
        self.table.value = label_rows(mine)
        self.remove.disabled = True

    def _on_clip(self, _: Any) -> None:
        if not self._quiet:
            self._go(self.clip.value)

    def _on_skip(self, _: Any) -> None:
        after = [i for i in self._unlabelled() if i != self.clip.value]
        if not after:
            self._say("No other clip is without a label.")
            return
        self._go(next((i for i in after if i > self.clip.value), after[0]))

    def _on_frame(self, _: Any = None) -> None:
        self.view.value = self._picture(self.frame.value, "on show")

    def _on_span(self, _: Any = None) -> None:
        if self._quiet:
            return
        first, end = self.span.index
        last = min(max(first, end - 1), len(self.shown.frames) - 1)
        self.ends.value = self._picture(min(first, last), "first inside") + self._picture(
            last, "last inside"
        )

    def _picture(self, index: int, what: str) -> str:
        second = self.shown.times_seconds[index]
        return picture(self.shown.frames[index], f"{what}, {second:.3f} s")

    def _mark(self, *, start: int | None = None, end: int | None = None) -> None:
        """Move one handle to the frame on show; the other gives way."""
        first, last = self.span.index
        if start is not None:
            first, last = start, max(last, start + 1)
        if end is not None:
            first, last = min(first, end - 1), end
        self.span.index = (first, min(last, len(self.span.options) - 1))

    def _on_label(self, _: Any) -> None:
        if self._quiet:
            return
        self.remove.disabled = self.label.value == NEW
        if self.label.value == NEW:
            return
        label = self.labels[self.label.value]
        seconds = np.array([second for _, second in self.span.options])
        first, last = (int(np.abs(seconds - second).argmin()) for second in label.span)
        self.query.value, self.span.index, self.frame.value = label.query, (first, last), first

    def _on_save(self, _: Any) -> None:
        name = self.clips[self.clip.value]
        label = Label(name, self.query.value, self.span.value, self.shown.duration_seconds)
        try:
            line = write_label(self._path, label, line=self.label.value or None)
        except (ValueError, OSError) as error:
            self._say(f"not saved: {error}")
            return
        self._reload(f"saved in line {line}")
        self.query.value = ""

    def _on_remove(self, _: Any) -> None:
        try:
            remove_label(self._path, self.label.value, video=self.clips[self.clip.value])
        except (ValueError, OSError) as error:
            self._say(f"not removed: {error}")
            return
        self._reload(f"removed line {self.label.value}")

    def _reload(self, done: str) -> None:
        self.labels = read_labels(self._path)
        self._quiet = True
        self._list_clips(self.clip.value)
        self._list_labels()
        self._quiet = False
        self._say(f"{done}; {self._left()}")

    def _say(self, *sentences: str) -> None:
        lines = "<br>".join(escape(s.encode(errors="replace").decode()) for s in sentences)
        self.status.value = f'<p role="status" aria-live="polite">{lines}</p>'
