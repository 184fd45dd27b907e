"""A model repository for NVIDIA Triton: both towers on its ONNX Runtime backend.

    export("run:runs/fashion", "triton", "repository")      image/1/model.onnx, text/1/model.onnx, a config.pbtxt each,
                                                            and beside them client.py with pictures.py, README.md
                                                            with the docker line

Servers batch requests that wait together (dynamic batching), answer the first request as fast as the rest (warm-up) and
serve the newest version that lies there. The text model takes token ids: client.py makes them from tokenizer.json. Ids
of one batch must have one length, so the client pads to a few lengths, which is exact for causal towers.
The configs are written as text, in protobuf's own format, and parsed with Triton's published definition where
tritonclient is installed. Nothing here starts a server.
"""

import json
import shutil
import tempfile
from pathlib import Path
from string import Template
from typing import Any

from clipadapt.atomic import sha256_file
from clipadapt.errors import ExportError, ParityError, UsageError
from clipadapt.export.client_pictures import standalone_source
from clipadapt.export.form import ExportForm, Options
from clipadapt.export.onnx import prove, write_onnx
from clipadapt.export.onnx_encoder import PREPROCESS, Form, file_of
from clipadapt.export.parity import Agreement, Probe
from clipadapt.export.preparation import Prepared
from clipadapt.export.tokens import TOKENIZER
from clipadapt.towers.identity import CARD, TOWERS, Tower

IMAGE = "nvcr.io/nvidia/tritonserver:25.10-py3"
"""A release whose ONNX Runtime reads opset 18."""
_TEMPLATES = Path(__file__).parent / "triton_files"
_BATCH = {"image": 32, "text": 128}
_WAIT = {"image": 2_000, "text": 500}
"""Microseconds that a request waits for others: a small part of what its tower takes."""
_WARM = 16
"""Tokens of the text that warms the server up."""


def _write(ready: Prepared, folder: Path, options: Options) -> None:
    if options.fp16 and options.calibration is not None:
        raise UsageError("triton: one form of each tower is served; choose INT8 or fp16")
    encoder = ready.encoder
    form: Form = "fp16" if options.fp16 else "fp32" if options.calibration is None else "int8"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        flat = Path(temporary)
        write_onnx(ready, flat, options)
        card: dict[str, Any] = json.loads((flat / CARD).read_text(encoding="utf-8"))
        card["agreement"] = prove(flat, ready.measured)._asdict()
        (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        text: dict[str, Any] | None = json.loads((flat / PREPROCESS).read_text(encoding="utf-8"))["text"]
        towers: list[Tower] = [tower for tower in TOWERS if tower == "image" or text is not None]
        for tower in towers:
            _place(flat / file_of(tower, form), folder / tower / "1")
            fixed = None if text is None or text["end"] is not None else int(text["context_length"])
            shape = [3, encoder.preprocess.size, encoder.preprocess.size] if tower == "image" else [fixed or -1]
            config = config_text(tower, shape, encoder.dim)
            check_config(config, f"{tower}/config.pbtxt")
            (folder / tower / "config.pbtxt").write_text(config, encoding="utf-8")
        for name in (PREPROCESS, *((TOKENIZER,) if text is not None else ())):
            shutil.copyfile(flat / name, folder / name)
    shutil.copyfile(_TEMPLATES / "client.py", folder / "client.py")
    (folder / "pictures.py").write_text(standalone_source(), encoding="utf-8")
    values = {"docker": IMAGE, "form": form, "space": card["image_space"], "towers": " and ".join(towers)}
    readme = Template((_TEMPLATES / "README.md").read_text(encoding="utf-8")).substitute(values)
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _verify(folder: Path, _: Probe) -> Agreement:
    """What is served is, byte for byte, one of the files that were proven before they were put in their places."""
    card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    proven = set(card["files"].values())
    for file in folder.glob("*/1/*"):
        if sha256_file(file) not in proven:
            raise ParityError(f"{file}: is not the file that was proven equal to the measured model")
    return Agreement(**card["agreement"])


FORM = ExportForm("triton", lambda encoder: None, _write, _verify, narrow=("int8", "fp16"))


def config_text(tower: Tower, shape: list[int], dim: int) -> str:
    """config.pbtxt of one tower; `shape` is of one input, without the batch, -1 for a free length."""
    name, kind = ("pixels", "FP32") if tower == "image" else ("tokens", "INT64")
    largest = _BATCH[tower]
    preferred = ", ".join(str(size) for size in (4, 8, 16, 32, 64, 128) if size <= largest)
    warm = [_WARM if side == -1 else side for side in shape]
    zeros = f"data_type: TYPE_{kind} dims: [ {_list(warm)} ] zero_data: true"
    warmups = "\n".join(
        f'  {{ name: "batch_{size}" batch_size: {size} inputs {{ key: "{name}" value {{ {zeros} }} }} }}{comma}'
        for size, comma in ((1, ","), (largest, ""))
    )
    return f"""name: "{tower}"
backend: "onnxruntime"
max_batch_size: {largest}
input [ {{ name: "{name}" data_type: TYPE_{kind} dims: [ {_list(shape)} ] }} ]
output [ {{ name: "vectors" data_type: TYPE_FP32 dims: [ {dim} ] }} ]
dynamic_batching {{ preferred_batch_size: [ {preferred} ] max_queue_delay_microseconds: {_WAIT[tower]} }}
instance_group [ {{ count: 1 kind: KIND_AUTO }} ]
version_policy: {{ latest {{ num_versions: 1 }} }}
model_warmup [
{warmups}
]
"""


def check_config(text: str, name: str) -> bool:
    """Parses a config with Triton's published definition; false where tritonclient is not installed to do so.

    Raises:
        ExportError: the definition refuses it.
    """
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    definition: Any = model_config_pb2  # made at run time
    try:
        text_format.Parse(text, definition.ModelConfig())
    except text_format.ParseError as error:
        raise ExportError(f"{name}: not a ModelConfig of the installed tritonclient: {error}") from error
    return True


def _place(file: Path, folder: Path) -> None:
    """A tower's file under Triton's name; weights beside it keep theirs, by which the graph refers to them."""
    folder.mkdir(parents=True)
    shutil.move(file, folder / "model.onnx")
    weights = file.with_name(f"{file.name}.data")
    if weights.is_file():
        shutil.move(weights, folder / weights.name)


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
