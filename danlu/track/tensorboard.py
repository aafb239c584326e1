"""TensorBoard: a view of the metric store in TensorBoard's own files, written without torch or TensorFlow.

A row's prefix becomes a sub-run and the rest its tag: `train/loss` and `valid/loss` are the tag `loss` of the sub-runs
`train` and `valid`, which TensorBoard draws into one plot; so it does with the runs of one parent folder.
"""

import io
import itertools
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from danlu.errors import RunError

MEDIA, GRAPH = "media", "graph"
_numbers = itertools.count()


class TensorBoard:
    """A folder of event files. Final.

    Args:
        folder: made with the first row; each sub-run is a folder in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sub_runs: dict[str, _EventFile] = {}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write one point for each row of update `step`; NaN is kept, precision is float32.

        Cost:
            about 15 us a point.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        for name, value in values.items():
            sub_run, slash, tag = name.partition("/")
            if not slash:
                sub_run, tag = "run", name
            self._write(sub_run, step, Summary.Value(tag=tag, simple_value=float(value)))

    def images(
        self,
        step: int,
        tag: str,
        images: npt.NDArray[np.uint8],
        *,
        captions: Sequence[str] | None = None,
        good: Sequence[bool] | None = None,
    ) -> None:
        """Write pictures as one grid.

        Args:
            step: the update they belong to.
            tag: the grid's name.
            images: uint8, shape (N, H, W) or (N, H, W, C) with C 1, 3 or 4.
            captions: a text for under each.
            good: whether each is right: green then, else red.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        from danlu.track.pictures import grid

        picture, png = grid(images, captions, good), io.BytesIO()
        picture.save(png, format="PNG")
        image = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=png.getvalue()
        )
        self._write(MEDIA, step, Summary.Value(tag=tag, image=image))

    def text(self, tag: str, text: str) -> None:
        """Write a text, which TensorBoard shows as Markdown."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=shape)
        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        self._write(MEDIA, 0, Summary.Value(tag=f"{tag}/text_summary", metadata=plugin, tensor=tensor))

    def rewrite(self, rows: Iterable[tuple[int, str, float]]) -> None:
        """Put rows (step, name, value) in place of every point that is there; pictures, texts and graph stay.

        A resumed run does this with the rows of its metric store, so that no curve runs back over itself.

        Raises:
            RunError: a folder is a link: what it leads to is not the run's own.
        """
        self.close()
        for place in (self.folder, *self.folder.glob("*")):
            if place.is_symlink():
                want, fix = "a folder of the run's own", "take the link away"
                raise RunError(where=str(place), got="a link", want=want, fix=fix)
        for path in self.folder.glob("*/events.out.tfevents.*"):
            if path.parent.name not in (MEDIA, GRAPH):
                path.unlink()
        for step, name, value in rows:
            self.scalars(step, {name: value})
        self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system: it survives the process from then on."""
        for file in self._sub_runs.values():
            file.flush()

    def close(self) -> None:
        """Flush and close all files; a later point opens new ones."""
        for file in self._sub_runs.values():
            file.close()
        self._sub_runs.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, sub_run: str, step: int, value: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if sub_run not in self._sub_runs:
            self._sub_runs[sub_run] = _EventFile(self.folder / sub_run)
        self._sub_runs[sub_run].add(Event(wall_time=time.time(), step=int(step), summary=Summary(value=[value])))


class _EventFile:
    """One event file.

    TensorBoard's `EventFileWriter` would do the same, but it imports TensorFlow wherever that is installed and runs a
    thread per file; its `RecordWriter` needs neither.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._file: BinaryIO = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self.add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def add(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
