"""A running TensorFlow Serving computes a signature, over REST or gRPC: the GPU can be in another machine.

`http://HOST:8501/v1/models/NAME[/versions/N]` or `grpc://HOST:8500/NAME[/N]`. The signature that it serves must be the
SavedModel's; whether its weights are too is checked by `backend`, which computes a few samples itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetf.backend import load_tensorflow
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.results import Source, TensorSpec
from edgetf.samples import Array

_REST = re.compile(r"https?://[^/]+/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+)|/labels/[^/:]+)?/?")
_GRPC = re.compile(r"grpc://(?P<host>[^/]+)/(?P<name>[^/]+)(/(?P<version>\d+))?/?")
_TIMEOUT_S = 120.0
_RETRIES = 4
_DIGITS = 20  # of a number as JSON
_MOST_BYTES = 16_000_000  # of one request

Ask = Callable[[Mapping[str, Array]], dict[str, Array]]


@dataclass(frozen=True)
class Served:
    """A model that is served: `ask` takes inputs of one batch by name and returns the outputs.

    `most` is how many samples one request may have; `name` describes the model in messages.
    """

    name: str
    ask: Ask
    most: int


def connect(url: str, source: Source) -> Served:
    """Reach the model at `url` and compare its signature with that of `source`.

    Raises EdgetfError for an address of another form, a server that does not answer, another signature, and later, from
    `ask`, for requests that fail.
    """
    if any(spec.dtype == "string" for spec in (*source.inputs, *source.outputs)):
        raise EdgetfError("texts are not sent to TensorFlow Serving", "make the reference with --on cpu or --on gpu")
    parts = parse_address(url)
    if parts.re is _REST:
        return _over_rest(url.rstrip("/"), _name(parts, url), source)
    return _over_grpc(parts, _name(parts, url), source)


def parse_address(url: str) -> re.Match[str]:
    """The parts of an address, which is not asked. Raises EdgetfError for one of another form."""
    if parts := _REST.fullmatch(url) or _GRPC.fullmatch(url):
        return parts
    hint = "serving:http://HOST:8501/v1/models/NAME or serving:grpc://HOST:8500/NAME"
    raise EdgetfError(f"{url!r} is not the address of a served model", hint)


def _name(match: re.Match[str], url: str) -> str:
    version = match["version"]
    host = url.split("/")[2].rpartition("@")[2]  # a user and a password are not recorded
    return f"model {match['name']}{f', version {version},' if version else ''} at {host}"


def _row_numbers(source: Source) -> int:
    """Numbers that one sample takes."""
    return sum(int(np.prod([axis or 1 for axis in spec.shape[1:]])) for spec in source.inputs)


# REST: https://www.tensorflow.org/tfx/serving/api_rest ------------------------------------------------------------


def _over_rest(url: str, name: str, source: Source) -> Served:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = requests.Session()
    retry = Retry(_RETRIES, backoff_factor=0.5, status_forcelist=(502, 503, 504), allowed_methods=None)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    dtypes = {spec.name: spec.dtype for spec in source.outputs}

    def call(method: str, path: str, body: Any = None) -> Any:
        try:
            answer = session.request(method, url + path, json=body, timeout=_TIMEOUT_S)
            content = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise _unreachable(name, str(error)) from error
        if not answer.ok:
            raise _refused(name, str(content.get("error", content) if isinstance(content, dict) else content))
        return content

    def ask(inputs: Mapping[str, Array]) -> dict[str, Array]:
        columns = {key: values.tolist() for key, values in inputs.items()}
        content = call("POST", ":predict", {"signature_name": source.signature, "inputs": columns})
        outputs = content.get("outputs") if isinstance(content, dict) else None
        if outputs is None:
            raise _refused(name, "the answer has no outputs")
        if not isinstance(outputs, dict):  # a single output comes without its name
            outputs = {next(iter(dtypes)): outputs}
        return _known(name, {key: np.asarray(values, dtypes.get(key)) for key, values in outputs.items()}, source)

    found = call("GET", "/metadata")
    try:
        signatures = found["metadata"]["signature_def"]["signature_def"]
        known = {
            key: (_rest_specs(one.get("inputs", {})), _rest_specs(one["outputs"])) for key, one in signatures.items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _refused(name, "the answer does not list its signatures") from error
    _compare(name, known, source)
    return Served(f"{name} (REST)", ask, max(1, _MOST_BYTES // (_DIGITS * _row_numbers(source))))


def _rest_specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for name, tensor in tensors.items():
        sizes = [int(axis["size"]) for axis in tensor["tensor_shape"].get("dim", [])]
        shape = tuple(None if size < 0 else size for size in sizes)
        specs[name] = TensorSpec(name, shape, _numpy_name(tensor["dtype"]))
    return specs


def _numpy_name(dtype: str) -> str:
    """numpy's name of `DT_FLOAT` and the like."""
    tf = load_tensorflow()
    name = dtype.removeprefix("DT_").lower()
    return str(tf.as_dtype("float32" if name == "float" else name).name)


# gRPC: tensorflow_serving/apis/prediction_service.proto -----------------------------------------------------------


def _over_grpc(match: re.Match[str], name: str, source: Source) -> Served:
    try:
        import grpc
        from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorflow-serving-api", "serving") from error
    tf = load_tensorflow()

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    stub = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(match["host"].rpartition("@")[2], options=options)
    )

    def call(method: Callable[..., Any], request: Any) -> Any:
        request.model_spec.name = match["name"]
        if match["version"]:
            request.model_spec.version.value = int(match["version"])
        try:
            return method(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise _unreachable(name, error.details()) from error
            raise _refused(name, error.details()) from error

    def ask(inputs: Mapping[str, Array]) -> dict[str, Array]:
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = source.signature
        for key, values in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(np.ascontiguousarray(values)))
        response = call(stub.Predict, request)
        return _known(name, {key: tf.make_ndarray(proto) for key, proto in response.outputs.items()}, source)

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    found = get_model_metadata_pb2.SignatureDefMap()
    call(stub.GetModelMetadata, request).metadata["signature_def"].Unpack(found)
    known = {key: (_grpc_specs(one.inputs), _grpc_specs(one.outputs)) for key, one in found.signature_def.items()}
    _compare(name, known, source)
    return Served(f"{name} (gRPC)", ask, max(1, _MOST_BYTES // (8 * _row_numbers(source))))


def _grpc_specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    tf = load_tensorflow()

    specs = {}
    for name, tensor in tensors.items():
        shape = tuple(None if axis.size < 0 else int(axis.size) for axis in tensor.tensor_shape.dim)
        specs[name] = TensorSpec(name, shape, str(tf.as_dtype(tensor.dtype).name))
    return specs


# what both have in common -----------------------------------------------------------------------------------------


def _compare(
    name: str, known: Mapping[str, tuple[dict[str, TensorSpec], dict[str, TensorSpec]]], source: Source
) -> None:
    if source.signature not in known:
        raise EdgetfError(
            f"the {name} has no signature {source.signature!r}, only {', '.join(sorted(known)) or 'none'}",
            "export the SavedModel for it again, or choose another with --signature",
        )
    for served, ours in zip(known[source.signature], (source.inputs, source.outputs), strict=True):
        if _specs(served.values()) != _specs(ours):
            raise EdgetfError(
                f"the {name} serves {'; '.join(_specs(served.values()))}, the SavedModel has {'; '.join(_specs(ours))}",
                "give the SavedModel that is served",
            )


def _specs(specs: Any) -> list[str]:
    return sorted(f"{spec.name}: {spec.describe()}" for spec in specs)


def _known(name: str, outputs: dict[str, Array], source: Source) -> dict[str, Array]:
    expected: Sequence[str] = [spec.name for spec in source.outputs]
    if sorted(outputs) != sorted(expected):
        raise _refused(name, f"it answered with {sorted(outputs)}, not with {sorted(expected)}")
    return outputs


def _unreachable(name: str, why: str) -> EdgetfError:
    reason = "connection refused" if "refused" in why.lower() else " ".join(why.split())[:200]
    hint = "is it running there? its answers until now are kept: run the same command again"
    return EdgetfError(f"the {name} does not answer: {reason}", hint)


def _refused(name: str, why: str) -> EdgetfError:
    return EdgetfError(f"the {name} refused: {' '.join(why.split())[:300]}", "see the log of TensorFlow Serving")
