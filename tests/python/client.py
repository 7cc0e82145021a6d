"""A client that knows nothing but the files in proto/: its stubs are generated when it starts."""

import importlib
import pathlib
import sys
import tempfile

import grpc
import grpc_tools
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def generate():
    """Generates the stubs into a directory that lives as long as the process, and makes them importable."""
    directory = tempfile.TemporaryDirectory(prefix="mds-python-")
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = [str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto")]
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={directory.name}"]
    if protoc.main([*arguments, f"--grpc_python_out={directory.name}", *files]) != 0:
        sys.exit("protoc does not accept proto/")
    # `google` is a package without a file of its own: what was generated is found beside what is installed.
    sys.path.insert(0, directory.name)
    import google

    google.__path__.append(f"{directory.name}/google")
    return directory


_generated = generate()
resources = importlib.import_module("mds.v1.resources_pb2")
endpoint = importlib.import_module("mds.v1.endpoint_service_pb2")
endpoint_grpc = importlib.import_module("mds.v1.endpoint_service_pb2_grpc")
tracker = importlib.import_module("mds.v1.tracker_service_pb2")
tracker_grpc = importlib.import_module("mds.v1.tracker_service_pb2_grpc")
reasons = importlib.import_module("mds.v1.error_reason_pb2")
bytestream = importlib.import_module("google.bytestream.bytestream_pb2")
bytestream_grpc = importlib.import_module("google.bytestream.bytestream_pb2_grpc")


class Daemon:
    """One daemon, on a connection of its own."""

    def __init__(self, address):
        self.address = address
        self.channel = grpc.insecure_channel(address)
        self.endpoint = endpoint_grpc.EndpointServiceStub(self.channel)
        self.tracker = tracker_grpc.TrackerServiceStub(self.channel)
        self.blobs = bytestream_grpc.ByteStreamStub(self.channel)

    def again(self):
        """The same daemon after the connection was lost."""
        self.channel.close()
        return Daemon(self.address)


class Failure:
    """What a failed call says: status code, documented reason, metadata, and the kinds of details beside it."""

    def __init__(self, error):
        self.code = error.code().name
        self.reason, self.metadata, self.details = None, {}, {}
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(value)
                assert status.message == error.details(), "the two messages are the same"
                for detail in status.details:
                    self._take(detail)

    def _take(self, detail):
        kind = detail.TypeName().removeprefix("google.rpc.")
        message = getattr(error_details_pb2, kind)()
        assert detail.Unpack(message)
        self.details[kind] = message
        if kind == "ErrorInfo":
            assert message.domain == "mds"
            assert f"ERROR_REASON_{message.reason}" in reasons.ErrorReason.keys(), message.reason
            self.reason, self.metadata = message.reason, dict(message.metadata)

    def __repr__(self):
        return f"{self.code} {self.reason} {self.metadata} {sorted(self.details)}"


def failure(call):
    """Makes a call that has to fail; streams are read to their end."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            for _ in answer:
                pass
    except grpc.RpcError as error:
        return Failure(error)
    raise AssertionError(f"the call succeeded: {answer}")


def read(stream):
    """The bytes of a stream of messages."""
    return b"".join(message.data for message in stream)
