"""Film the odd clips in ``data_samples/clips`` and write a small file of each annotation format.

    python -m tools.build_format_samples

The annotations in ``data_samples/formats`` are about the held-out clips of
``tools.build_data_samples`` and about the odd clips.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from vcr1_lib.toyworld import (
    SEED_RANGES,
    Event,
    Scene,
    query_of,
    render,
    sample_scene,
)

SECONDS = 6.0
SIZE = 96
SCENE = Scene(
    SECONDS,
    "gradient",
    (35, 40, 55),
    (
        Event("yellow", "circle", 0.0, 6.0, (0.2, 0.3), (0.8, 0.7), 0.17),
        Event("blue", "cross", 2.0, 4.5, (0.7, 0.25), (0.3, 0.75), 0.15),
    ),
)
TICKS = 12_800  # time stamps a second
# Seconds of a recording whose rate drops in the middle, as phones' do.
UNEVEN = np.concatenate([np.arange(0, 2, 1 / 30), np.arange(2, 4, 0.3), np.arange(4, 6, 1 / 24)])


def film(
    path: Path,
    times: Sequence[float],
    *,
    start: float = 0.0,
    crop: tuple[int, int] = (SIZE, SIZE),
    crf: int = 26,
    sound: bool = False,
) -> None:
    """Encode ``SCENE`` with a frame at each time; ``crop`` is (width, height)."""
    with av.open(str(path), "w") as container:
        options = {"crf": str(crf), "preset": "slow"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height = crop
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        audio = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        left = (SIZE - crop[0]) // 2
        for picture, time in zip(render(SCENE, list(times), SIZE), times, strict=True):
            cut = np.ascontiguousarray(picture[: crop[1], left : left + crop[0]])
            frame = av.VideoFrame.from_ndarray(cut, format="rgb24")
            frame.pts, frame.time_base = round((start + time) * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            wave = np.sin(2 * np.pi * 440 * np.arange(round(SECONDS * 16_000)) / 16_000)
            samples = (wave * 3000).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 0
            for resampled in av.AudioResampler("fltp", "mono", 16_000).resample(frame):
                container.mux(audio.encode(resampled))
            container.mux(audio.encode())


def build_clips(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    film(folder / "rate12.mp4", np.arange(72) / 12)
    film(folder / "rate30.mp4", np.arange(180) / 30)
    film(folder / "variable.mp4", UNEVEN)
    film(folder / "sound.mp4", np.arange(60) / 10, sound=True)
    film(folder / "late.mp4", np.arange(60) / 10, start=2.5)
    film(folder / "portrait.mp4", np.arange(60) / 10, crop=(54, SIZE))
    film(folder / "low_quality.mp4", np.arange(60) / 10, crf=50)


def box_of(event: Event, time: float) -> list[float]:
    """Return the object's box as shares of the picture, rounded as GOT-10k's JSON is."""
    return [round(side, 3) for side in event.box_at(time)]


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def clips_with_scenes() -> list[tuple[str, Scene]]:
    start = SEED_RANGES["heldout"].start
    return [(f"H{i:04d}", sample_scene(start + i, "heldout")) for i in range(4)]


def build_moments(folder: Path) -> None:
    def entry(scene: Scene, blank: str) -> dict[str, object]:
        (event,) = scene.events
        span = [event.start_seconds, event.end_seconds]
        return {
            "duration": scene.duration_seconds,
            "timestamps": [span],
            "sentences": [blank + query_of(event)],
        }

    clips = clips_with_scenes()
    write(folder / "activitynet_captions.json", {n: entry(s, "  ") for n, s in clips})
    write(folder / "videochat_r1" / "charades.json", {n: entry(s, "") for n, s in clips})


def build_questions(folder: Path) -> None:
    rows, shown, listed = [], {}, []
    for place, (name, scene) in enumerate(clips_with_scenes()):
        (event,) = scene.events
        others = ["red square", "green cross", "white circle", "cyan circle"]
        options = [*others[:place], event.name, *others[place:]]
        span = [event.start_seconds, event.end_seconds]
        question = "which object is not grey"
        rows.append((name, 192, 128, 128, question, event.name, place, "CW", *options))
        shown[name] = {"duration": 24, "location": {str(place): [span]}, "fps": 8.0}
        listed.append(
            {
                "id": f"{name}_{place}",
                "video": f"{name}.mp4",
                "question": question,
                "options": [f"({letter}) {o}" for letter, o in zip("ABCDE", options, strict=True)],
                "duration": 24,
                "glue": [span],
                "type": "CW",
                "answer": f"({'ABCDE'[place]})",
            }
        )
    header = ["video_id", "frame_count", "width", "height", "question", "answer", "qid", "type"]
    header += [f"a{i}" for i in range(5)]
    (folder / "nextgqa").mkdir(exist_ok=True)
    with (folder / "nextgqa" / "val.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    write(folder / "nextgqa" / "gsub_val.json", shown)
    write(folder / "videochat_r1" / "nextgqa.json", listed)


def build_tracks(folder: Path) -> None:
    """One sequence as GOT-10k's toolkit lays it out, ten pictures a second, and as 8 boxes."""
    event, name, frames = SCENE.events[0], "TOY_Val_000001", np.arange(20)
    sequence = folder / "got10k" / "val" / name
    sequence.mkdir(parents=True, exist_ok=True)
    lines = []
    for frame, picture in zip(frames, render(SCENE, (frames / 10).tolist(), SIZE), strict=True):
        Image.fromarray(picture).save(sequence / f"{frame + 1:08d}.jpg", quality=85)
        x0, y0, x1, y1 = np.array(box_of(event, frame / 10)) * SIZE
        lines.append(f"{x0:.4f},{y0:.4f},{x1 - x0:.4f},{y1 - y0:.4f}\n")
    (sequence / "groundtruth.txt").write_text("".join(lines))
    for label, value in (("cover", 8), ("absence", 0), ("cut_by_image", 0)):
        (sequence / f"{label}.label").write_text(f"{value}\n" * len(frames))
    (sequence / "meta_info.ini").write_text(
        "[METAINFO]\nurl: none\nbegin: 00:00:00\nend: 00:00:02\nanno_fps: 10Hz\n"
        "object_class: yellow circle\nmotion_class: gliding\nmajor_class: shape\n"
        f"root_class: shape\nmotion_adverb: slowly\nresolution: ({SIZE}, {SIZE})\n"
    )
    (folder / "got10k" / "val" / "list.txt").write_text(f"{name}\n")
    times = frames[np.linspace(0, len(frames) - 1, 8).round().astype(int)] / 10
    boxes = [box_of(event, time) for time in times]
    row = {"path": f"cluster/GOT-10k/val/{name}", "object": event.name, "gt": boxes}
    write(folder / "videochat_r1" / "got_val.json", [row])


def as_in_tarsier(events: list[str]) -> dict[str, Any]:
    """Write a clip's events as a line of ``DREAM-1k.jsonl`` in Tarsier's repository has them."""
    asked = {"type": "video", "text": None, "reference": None}
    said = {"type": "text", "text": "", "reference": " ".join(events), "video": None}
    return {
        "messages": [
            {"role": "user", "content": [asked | {"video": {"video_file": "<placeholder>"}}]},
            {"role": "assistant", "content": [said]},
        ],
        "dataset": "DREAM/toyworld",
        "task": "video/caption",
        "idx": 1,
        "extra_info": {"duration": SECONDS, "events": events, "n_events": len(events)},
        "vid": "rate30",
    }


def build_rest(folder: Path) -> None:
    events = [f"A {e.name} glides across the picture." for e in SCENE.events]
    caption = {"idx": "TOY_1", "video_file": "video/rate30.mp4", "duration": SECONDS}
    write(folder / "dream_1k.json", [caption | {"description": " ".join(events), "events": events}])
    (folder / "DREAM-1k.jsonl").write_text(
        json.dumps(as_in_tarsier(events)) + "\n", encoding="utf-8"
    )
    asked = "How about the quality of this clip? Choose from ['low quality', 'high quality']."
    rows = [("low_quality.mp4", "low quality"), ("rate30.mp4", "high quality")]
    quality = [{"video": v, "instruction": asked, "answer": a} for v, a in rows]
    write(folder / "videochat_r1" / "quality.json", quality)
    event, times = SCENE.events[0], np.arange(0, SECONDS, 0.5)
    clip = {
        "metadata": {"split": "valid", "video_id": "rate30", "frame_rate": 30.0, "num_frames": 180},
        "mc_question": [
            {
                "id": 0,
                "question": "Which object is there all the time?",
                "options": ["a blue cross", "a yellow circle", "a red square"],
                "answer_id": 1,
                "area": "memory",
                "reasoning": "descriptive",
                "tag": ["object permanence"],
            }
        ],
        "object_tracking": [
            {
                "id": 0,
                "label": event.name,
                "bounding_boxes": [box_of(event, time) for time in times],
                "frame_ids": [round(time * 30) for time in times],
                "timestamps": [round(time * 1_000_000) for time in times],
                "is_masked": False,
            }
        ],
    }
    write(folder / "perception_test.json", {"rate30": clip})
    own = [
        {"video": "rate30.mp4", "query": "a blue cross is on screen.", "span": [2.0, 4.5]},
        {
            "video": "rate12.mp4",
            "question": "What comes second?",
            "options": ["a blue cross", "a yellow circle"],
            "answer": "a blue cross",
        },
        {"video": "rate30.mp4", "events": events},
        {"video": "low_quality.mp4", "task": "quality", "answer": "low quality"},
    ]
    lines = [json.dumps(row) + "\n" for row in own]
    (folder / "own.jsonl").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("data_samples"))
    output = parser.parse_args().output
    build_clips(output / "clips")
    (output / "formats").mkdir(parents=True, exist_ok=True)
    for build in (build_moments, build_questions, build_tracks, build_rest):
        build(output / "formats")


if __name__ == "__main__":
    main()
