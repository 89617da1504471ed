"""A stand-in for TensorFlow Serving: its REST and gRPC protocols in front of a real SavedModel, in this process.

Serving itself is a separate program that no package index holds. The gRPC messages and service are those of
`tensorflow-serving-api`; the REST answers have the form of https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

NAME = "digits"


class Model:
    """The signatures of a SavedModel; it answers `left` requests, then it fails."""

    def __init__(self, saved_model: Path, left: int = 10**9) -> None:
        self.left = left
        self.model = tf.saved_model.load(str(saved_model))
        proto = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
        self.defs = {k: v for k, v in proto.meta_graphs[0].signature_def.items() if not k.startswith("__")}

    def predict(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        self.left -= 1
        if self.left < 0:
            raise ConnectionAbortedError
        specs = self.defs[signature].inputs
        fed = {name: tf.constant(values, specs[name].dtype) for name, values in inputs.items()}
        return {name: value.numpy() for name, value in self.model.signatures[signature](**fed).items()}


@contextmanager
def rest(model: Model) -> Iterator[str]:
    """The address of the model over REST."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            defs = {name: json.loads(json_format.MessageToJson(one)) for name, one in model.defs.items()}
            snake = json.loads(json.dumps(defs).replace("tensorShape", "tensor_shape"))
            self._respond(200, {"metadata": {"signature_def": {"signature_def": snake}}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                outputs = model.predict(body["signature_name"], body["inputs"])
            except ConnectionAbortedError:
                self.close_connection = True
                return
            plain = {name: values.tolist() for name, values in outputs.items()}
            self._respond(200, {"outputs": next(iter(plain.values())) if len(plain) == 1 else plain})

        def _respond(self, code: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Nothing: the tests have their own output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/models/{NAME}"
    finally:
        server.shutdown()
        server.server_close()


class _Service(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    def __init__(self, model: Model) -> None:
        self.model = model

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        try:
            outputs = self.model.predict(request.model_spec.signature_name, inputs)
        except ConnectionAbortedError:
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        answer = predict_pb2.PredictResponse()
        for name, values in outputs.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(values)))
        return answer

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.model_spec.name != NAME:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found: {request.model_spec.name}")
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        defs = get_model_metadata_pb2.SignatureDefMap(signature_def=self.model.defs)
        answer.metadata["signature_def"].Pack(defs)
        return answer


@contextmanager
def over_grpc(model: Model) -> Iterator[str]:
    """The address of the model over gRPC."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Service(model), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}/{NAME}"
    finally:
        server.stop(0)
