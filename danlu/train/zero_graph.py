"""The tape of a danlu.zero model as a graph for TensorBoard."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_graph(output: Any, parameters: Mapping[str, Any], folder: Path) -> None:
    """Write the operations that made `output`, and what they were made of.

    Args:
        output: a danlu.zero tensor that was recorded.
        parameters: by the name that a leaf shall have.
        folder: TensorBoard folder for the graph's own event file.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.node_def_pb2 import NodeDef
    from tensorboard.summary.writer.record_writer import RecordWriter

    leaves = {id(parameter): name for name, parameter in parameters.items()}
    names: dict[Any, str] = {}
    graph = GraphDef()
    for node in _in_order(output.grad_fn):
        own = None if node.next_functions else leaves.get(id(getattr(node, "variable", None)))
        names[node] = own or f"{node.name()}_{len(names)}"
        inputs = [names[before] for before, _ in node.next_functions if before is not None]
        graph.node.append(NodeDef(name=names[node], op=node.name(), input=inputs))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"events.out.tfevents.{int(time.time())}.graph.{os.getpid()}").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        writer.write(Event(wall_time=time.time(), graph_def=graph.SerializeToString()).SerializeToString())


def _in_order(last: Any) -> list[Any]:
    """Return every node once, those that a node depends on before it."""
    found: dict[Any, None] = {}
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = None
            waiting += [before for before, _ in node.next_functions]
    leaves = [node for node in found if not node.next_functions]
    return leaves + sorted((node for node in found if node.next_functions), key=lambda node: -node.order)
