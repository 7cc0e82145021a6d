"""What a client sees that knows only the .proto files. Started by tests/tests/python.rs with a part to check and the daemons' addresses."""

import hashlib
import random
import sys
import time
import uuid

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import client
from client import Daemon, bytestream, endpoint, failure, read, resources, tracker

PATIENCE = 30
SERVICES = ["google.bytestream.ByteStream", "mds.v1.EndpointService", "mds.v1.TrackerService"]
UNKNOWN = hashlib.sha256(b"nobody has this").hexdigest()


def content(seed, size):
    return random.Random(seed).randbytes(size)


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def expect(call, code, reason, *details, **metadata):
    """A call fails with this code and this reason, with these details and this metadata."""
    failed = failure(call)
    assert (failed.code, failed.reason) == (code, reason), f"{failed} in place of {code} {reason}"
    assert "ErrorInfo" in failed.details, failed
    assert set(details) <= set(failed.details), f"{failed} has not all of {details}"
    assert metadata.items() <= failed.metadata.items(), f"{failed} has not {metadata}"
    return failed


def eventually(what, question):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if question():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


def pieces(upload, data, offsets):
    """The messages that write the fragments at these offsets; each fragment in two."""
    for offset in offsets:
        fragment = data[offset : offset + upload.fragment_size_bytes]
        half = len(fragment) // 2
        yield tracker.WriteFragmentsRequest(upload=upload.name, digest=digest_of(fragment), file_offset=offset, data=fragment[:half])
        yield tracker.WriteFragmentsRequest(write_offset=half, data=fragment[half:], finish_fragment=True)


def put(daemon, data, name=""):
    upload = daemon.tracker.CreateUpload(tracker.CreateUploadRequest(display_name=name)).upload
    if data:
        daemon.tracker.WriteFragments(pieces(upload, data, range(0, len(data), upload.fragment_size_bytes)))
    return daemon.tracker.CompleteUpload(tracker.CompleteUploadRequest(name=upload.name)).file


def upload_with_a_break(tracked, _):
    data = content(1, 20 * 1024 + 100)
    request = tracker.CreateUploadRequest(
        digest=digest_of(data), size_bytes=len(data), display_name="broken/and resumed", request_id=str(uuid.uuid4()), min_servers=3
    )
    upload = tracked.tracker.CreateUpload(request).upload
    assert upload.state == resources.UPLOAD_STATE_RECEIVING
    size = upload.fragment_size_bytes
    offsets = list(range(0, len(data), size))

    def breaks_off():
        # The first half but the very first fragment, and then a fragment that is never finished.
        yield from pieces(upload, data, offsets[1 : len(offsets) // 2])
        yield tracker.WriteFragmentsRequest(upload=upload.name, file_offset=offsets[-1], data=data[offsets[-1] :][:10])
        time.sleep(0.5)
        raise ConnectionError("on purpose")

    failed = failure(lambda: tracked.tracker.WriteFragments(breaks_off()))
    assert failed.code in ("CANCELLED", "UNKNOWN"), failed
    tracked = tracked.again()

    again = tracked.tracker.CreateUpload(request).upload
    assert (again.name, again.committed_bytes) == (upload.name, 0), again
    reused = tracker.CreateUploadRequest(digest=digest_of(b"other"), request_id=request.request_id)
    expect(lambda: tracked.tracker.CreateUpload(reused), "ALREADY_EXISTS", "REQUEST_ID_REUSED", request_id=request.request_id)
    complete = tracker.CompleteUploadRequest(name=upload.name, fragment_digests=[digest_of(data[at : at + size]) for at in offsets])
    failed = expect(lambda: tracked.tracker.CompleteUpload(complete), "FAILED_PRECONDITION", "FRAGMENTS_MISSING", "PreconditionFailure")
    wanted = tracker.FindMissingFragmentsRequest(upload=upload.name, digests=complete.fragment_digests)

    def missing():
        return list(tracked.tracker.FindMissingFragments(wanted).missing_digests)

    eventually("what came before the break is durable", lambda: len(missing()) == len(offsets) - (len(offsets) // 2 - 1))
    left = [at for at in offsets if digest_of(data[at : at + size]) in missing()]
    assert left == [0, *offsets[len(offsets) // 2 :]], left
    after = tracked.tracker.WriteFragments(pieces(upload, data, reversed(left))).upload
    assert (after.committed_bytes, missing()) == (len(data), [])
    file = tracked.tracker.CompleteUpload(complete).file
    assert (file.digest, file.size_bytes, file.display_name) == (digest_of(data), len(data), request.display_name)
    assert tracked.tracker.CompleteUpload(complete).file.digest == file.digest, "completing again is the same"
    state = tracked.tracker.GetUpload(tracker.GetUploadRequest(name=upload.name)).upload
    assert (state.state, state.committed_bytes) == (resources.UPLOAD_STATE_COMPLETE, len(data))
    assert read(tracked.endpoint.ReadFile(endpoint.ReadFileRequest(name=file.name))) == data
    known = tracked.tracker.CreateUpload(tracker.CreateUploadRequest(digest=file.digest)).upload
    eventually("every fragment has a holder", lambda: copies(tracked, file.name) > 0)
    known = tracked.tracker.CreateUpload(tracker.CreateUploadRequest(digest=file.digest)).upload
    assert known.state == resources.UPLOAD_STATE_COMPLETE, "the network has it already"
    contradiction = tracker.CreateUploadRequest(digest=file.digest, size_bytes=7)
    expect(
        lambda: tracked.tracker.CreateUpload(contradiction),
        "INVALID_ARGUMENT", "SIZE_MISMATCH", "BadRequest", expected_bytes="7", actual_bytes=str(len(data)),
    )  # fmt: skip


def cancelled_upload(tracked, _):
    upload = tracked.tracker.CreateUpload(tracker.CreateUploadRequest()).upload
    for _ in range(2):
        tracked.tracker.CancelUpload(tracker.CancelUploadRequest(name=upload.name))
    expect(
        lambda: tracked.tracker.GetUpload(tracker.GetUploadRequest(name=upload.name)),
        "NOT_FOUND", "UPLOAD_NOT_FOUND", "ResourceInfo", upload=upload.name,
    )  # fmt: skip


def lists(tracked, torrents):
    files = {put(tracked, content(seed, 3000), f"listed/{seed}").digest for seed in range(10, 15)}
    for daemon in [tracked, *torrents]:
        request, found = endpoint.ListFilesRequest(page_size=2, display_name_contains="listed/"), []
        eventually("every daemon knows all files", lambda: len(daemon.endpoint.ListFiles(endpoint.ListFilesRequest(display_name_contains="listed/")).files) == 5)
        while True:
            page = daemon.endpoint.ListFiles(request)
            assert len(page.files) <= 2
            found += [file.digest for file in page.files]
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        assert found == sorted(files)
    request, names = endpoint.ListServersRequest(page_size=1), []
    while True:
        page = tracked.endpoint.ListServers(request)
        names += [server.name for server in page.servers]
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert names == ["servers/t1", "servers/t2", "servers/t3"]
    # Tokens of the same calls with another filter and another file.
    strangers = [
        tracked.endpoint.ListFiles(endpoint.ListFilesRequest(page_size=1, display_name_contains="listed/")).next_page_token,
        tracked.endpoint.ListFragments(endpoint.ListFragmentsRequest(parent=f"files/{max(files)}", page_size=1)).next_page_token,
    ]
    assert all(strangers)
    for list_call in [
        lambda size, token: tracked.endpoint.ListFiles(endpoint.ListFilesRequest(page_size=size, page_token=token)),
        lambda size, token: tracked.endpoint.ListServers(endpoint.ListServersRequest(page_size=size, page_token=token)),
        lambda size, token: tracked.endpoint.ListFragments(endpoint.ListFragmentsRequest(parent=f"files/{min(files)}", page_size=size, page_token=token)),
    ]:
        for foreign in ["no token/", "garbage", "5", "-1", UNKNOWN, *strangers]:
            expect(lambda: list_call(0, foreign), "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN", "BadRequest", field="page_token")
        expect(lambda: list_call(-1, ""), "INVALID_ARGUMENT", "INVALID_FIELD", "BadRequest", field="page_size")


def ranges(tracked, torrents):
    data = content(2, 10 * 1024 + 70)
    file = put(tracked, data, "ranges")
    for daemon in [tracked, *torrents]:
        eventually("the file has its copies", lambda: copies(daemon, file.name) == 2)
        for offset, limit in [(0, 0), (0, 1), (1023, 2), (1000, 5000), (len(data) - 1, 0), (len(data), 0), (5, 2**62)]:
            end = offset + limit if limit else len(data)
            request = endpoint.ReadFileRequest(name=file.name, read_offset=offset, read_limit=limit)
            assert read(daemon.endpoint.ReadFile(request)) == data[offset:end], (offset, limit)
        # What breaks off goes on where it was.
        stream = daemon.endpoint.ReadFile(endpoint.ReadFileRequest(name=file.name))
        begun = next(stream).data
        stream.cancel()
        rest = read(daemon.endpoint.ReadFile(endpoint.ReadFileRequest(name=file.name, read_offset=len(begun))))
        assert begun + rest == data
    fragments = tracked.endpoint.ListFragments(endpoint.ListFragmentsRequest(parent=file.name)).fragments
    assert [fragment.offset_bytes for fragment in fragments] == list(range(0, len(data), 1024))
    wanted = [fragment.digest for fragment in fragments]
    for torrent in torrents:
        held = torrent.endpoint.BatchGetFragments(endpoint.BatchGetFragmentsRequest(digests=wanted)).fragments
        for fragment in held:
            at = wanted.index(fragment.digest) * 1024
            request = endpoint.ReadFragmentRequest(name=f"fragments/{fragment.digest}", read_offset=10, read_limit=20)
            assert read(torrent.endpoint.ReadFragment(request)) == data[at + 10 : at + 30]


def copies(daemon, name):
    """How many copies there are of a file as the daemon knows; -1 if it does not know the file."""
    try:
        return daemon.endpoint.GetFile(endpoint.GetFileRequest(name=name)).file.min_holders
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
        return -1


def watch(tracked, torrents):
    watched = torrents[0]
    stream = watched.endpoint.Watch(endpoint.WatchRequest())
    files, cursor = set(), ""
    kinds = []
    for message in stream:
        kinds.append(endpoint.WatchKind.Name(message.kind).removeprefix("WATCH_KIND_"))
        files |= {message.name} if message.HasField("file") else set()
        if message.kind == endpoint.WATCH_KIND_SNAPSHOT_ENDED:
            cursor = message.cursor
            break
    assert kinds[0] == "SNAPSHOT_BEGUN" and kinds.count("SERVER_PRESENT") == 3 and cursor, kinds
    listed = watched.endpoint.ListFiles(endpoint.ListFilesRequest(page_size=1000)).files
    assert files == {file.name for file in listed}
    file = put(tracked, content(3, 5000), "watched")
    copies = []
    for message in stream:
        cursor = message.cursor
        if message.name == file.name:
            copies.append((message.kind, message.file.min_holders))
            if message.file.min_holders == 2:
                break
    assert copies[0][0] == endpoint.WATCH_KIND_FILE_PUBLISHED, copies
    stream.cancel()

    # What happens while nobody listens is heard afterwards, and nothing twice.
    tracked.tracker.DeleteFile(tracker.DeleteFileRequest(name=file.name))
    other = put(tracked, content(4, 100), "while nobody listened")
    heard = []
    for message in watched.again().endpoint.Watch(endpoint.WatchRequest(cursor=cursor)):
        assert message.kind != endpoint.WATCH_KIND_SNAPSHOT_BEGUN
        if message.name in (file.name, other.name):
            heard.append((endpoint.WatchKind.Name(message.kind).removeprefix("WATCH_KIND_FILE_"), message.name))
        if message.name == other.name:
            break
    assert set(heard) >= {("REMOVED", file.name), ("PUBLISHED", other.name)}, heard

    # A cursor of another daemon leads to the state.
    first = next(tracked.endpoint.Watch(endpoint.WatchRequest(cursor=cursor)))
    assert first.kind == endpoint.WATCH_KIND_SNAPSHOT_BEGUN
    expect(lambda: tracked.endpoint.Watch(endpoint.WatchRequest(cursor="x")), "INVALID_ARGUMENT", "INVALID_CURSOR", "BadRequest", field="cursor")


def byte_stream(tracked, torrents):
    data = content(5, 7 * 1024 + 55)
    digest = hashlib.sha256(data).hexdigest()
    blob, upload = f"blobs/{digest}/{len(data)}", str(uuid.uuid4())
    name = f"uploads/{upload}/{blob}"
    status = bytestream.QueryWriteStatusRequest(resource_name=name)
    expect(lambda: tracked.blobs.QueryWriteStatus(status), "NOT_FOUND", "UPLOAD_NOT_FOUND", "ResourceInfo")

    def messages(start, end, finish):
        for at in range(start, end, 700):
            part = data[at : min(at + 700, end)]
            yield bytestream.WriteRequest(resource_name=name if at == start else "", write_offset=at, data=part, finish_write=finish and at + 700 >= end)

    committed = tracked.blobs.Write(messages(0, 4000, False)).committed_size
    assert committed == 3 * 1024, "whole fragments"
    tracked = tracked.again()
    now = tracked.blobs.QueryWriteStatus(status)
    assert (now.committed_size, now.complete) == (committed, False)
    expect(lambda: tracked.blobs.Write(messages(0, 4000, False)), "INVALID_ARGUMENT", "WRONG_WRITE_OFFSET", "BadRequest", expected=str(committed))
    assert tracked.blobs.Write(messages(committed, len(data), True)).committed_size == len(data)
    now = tracked.blobs.QueryWriteStatus(status)
    assert (now.committed_size, now.complete) == (len(data), True)
    # The same file again: answered at once, whatever is sent.
    eventually("every fragment has a holder", lambda: copies(tracked, f"files/{digest}") > 0)
    early = bytestream.WriteRequest(resource_name=f"uploads/{uuid.uuid4()}/{blob}/some/name", data=data[:10])
    assert tracked.blobs.Write(iter([early])).committed_size == len(data)
    short = bytestream.WriteRequest(resource_name=f"uploads/{uuid.uuid4()}/blobs/{digest}/7", data=data[:7], finish_write=True)
    expect(lambda: tracked.blobs.Write(iter([short])), "INVALID_ARGUMENT", "SIZE_MISMATCH", "BadRequest", actual_bytes=str(len(data)))

    fragment = data[1024:2048]
    for daemon in [tracked, *torrents]:
        eventually("the file has its copies", lambda: copies(daemon, f"files/{digest}") == 2)
        for offset, limit in [(0, 0), (1000, 100), (len(data), 0)]:
            request = bytestream.ReadRequest(resource_name=blob, read_offset=offset, read_limit=limit)
            assert read(daemon.blobs.Read(request)) == data[offset : offset + limit if limit else len(data)]
        of_fragment = bytestream.ReadRequest(resource_name=f"blobs/{hashlib.sha256(fragment).hexdigest()}/1024", read_offset=24)
        assert read(daemon.blobs.Read(of_fragment)) == fragment[24:]

        def reading(resource_name, read_offset=0, read_limit=0):
            return lambda: daemon.blobs.Read(bytestream.ReadRequest(resource_name=resource_name, read_offset=read_offset, read_limit=read_limit))

        expect(reading(f"blobs/{UNKNOWN}/5"), "NOT_FOUND", "BLOB_NOT_FOUND", "ResourceInfo", size_bytes="5")
        expect(reading(f"blobs/{digest}/5"), "NOT_FOUND", "BLOB_NOT_FOUND")
        expect(reading("blobs/xyz/5"), "INVALID_ARGUMENT", "INVALID_DIGEST", "BadRequest")
        expect(reading(digest), "INVALID_ARGUMENT", "INVALID_FIELD", "BadRequest", field="resource_name")
        expect(reading(blob, len(data) + 1), "OUT_OF_RANGE", "OFFSET_OUT_OF_RANGE")
        expect(reading(blob, -1), "OUT_OF_RANGE", "OFFSET_OUT_OF_RANGE")
        expect(reading(blob, 0, -1), "INVALID_ARGUMENT", "NEGATIVE_LIMIT")
    expect(lambda: torrents[0].blobs.Write(iter([early])), "UNIMPLEMENTED", "ONLY_AT_TRACKER")
    expect(lambda: torrents[0].blobs.QueryWriteStatus(status), "UNIMPLEMENTED", "ONLY_AT_TRACKER")

    wrong = f"uploads/{uuid.uuid4()}/blobs/{UNKNOWN}/10"
    for _ in range(2):
        lie = bytestream.WriteRequest(resource_name=wrong, data=b"0123456789", finish_write=True)
        expect(lambda: tracked.blobs.Write(iter([lie])), "INVALID_ARGUMENT", "DIGEST_MISMATCH", "BadRequest")
    long = bytestream.WriteRequest(resource_name=wrong, data=b"0123456789a")
    expect(lambda: tracked.blobs.Write(iter([long])), "INVALID_ARGUMENT", "SIZE_MISMATCH")
    more = [bytestream.WriteRequest(resource_name=wrong, data=b"0123456789", finish_write=True), bytestream.WriteRequest(write_offset=10)]
    expect(lambda: tracked.blobs.Write(iter(more)), "INVALID_ARGUMENT", "INVALID_FIELD", field="finish_write")
    empty = f"uploads/{uuid.uuid4()}/blobs/{hashlib.sha256(b'').hexdigest()}/0"
    assert tracked.blobs.Write(iter([bytestream.WriteRequest(resource_name=empty, finish_write=True)])).committed_size == 0

    # The same name once more, after the file was deleted: the bytes are wanted again.
    tracked.tracker.DeleteFile(tracker.DeleteFileRequest(name=f"files/{digest}"))
    expect(lambda: tracked.blobs.QueryWriteStatus(status), "NOT_FOUND", "UPLOAD_NOT_FOUND")
    assert tracked.blobs.Write(messages(0, len(data), True)).committed_size == len(data)
    assert read(tracked.blobs.Read(bytestream.ReadRequest(resource_name=blob))) == data


def failures(tracked, torrents):
    data = content(6, 3000)
    file = put(tracked, data, "for failures")
    for daemon in [tracked, *torrents]:
        eventually("the daemon knows the file", lambda: copies(daemon, file.name) >= 0)

        def reading(name, read_offset=0, read_limit=0):
            return lambda: daemon.endpoint.ReadFile(endpoint.ReadFileRequest(name=name, read_offset=read_offset, read_limit=read_limit))

        expect(reading(f"files/{UNKNOWN}"), "NOT_FOUND", "FILE_NOT_FOUND", "ResourceInfo", digest=f"sha256:{UNKNOWN}")
        expect(lambda: daemon.endpoint.GetFile(endpoint.GetFileRequest(name=UNKNOWN)), "NOT_FOUND", "FILE_NOT_FOUND")
        expect(lambda: daemon.endpoint.ReadFragment(endpoint.ReadFragmentRequest(name=UNKNOWN)), "NOT_FOUND", "FRAGMENT_NOT_HELD", "ResourceInfo")
        for malformed in ["", "files/", "files/abc", f"sha512:{UNKNOWN}", UNKNOWN[1:], f"{UNKNOWN}0", f"fragments/{UNKNOWN}", "é" * 64]:
            expect(reading(malformed), "INVALID_ARGUMENT", "INVALID_DIGEST", "BadRequest", field="name")
        expect(reading(file.name, len(data) + 1), "OUT_OF_RANGE", "OFFSET_OUT_OF_RANGE", "BadRequest", size_bytes=str(len(data)))
        expect(reading(file.name, -1), "OUT_OF_RANGE", "OFFSET_OUT_OF_RANGE", read_offset="-1")
        expect(reading(file.name, 0, -1), "INVALID_ARGUMENT", "NEGATIVE_LIMIT", "BadRequest", read_limit="-1")
        unknown = daemon.channel.unary_unary("/mds.v1.EndpointService/Guess", lambda _: b"", lambda _: None)
        expect(lambda: unknown(None), "UNIMPLEMENTED", "UNKNOWN_METHOD")
        garbled = daemon.channel.unary_unary("/mds.v1.EndpointService/GetFile", lambda _: b"\xff\xff", lambda _: None)
        expect(lambda: garbled(None), "INTERNAL", "MALFORMED_MESSAGE")
        batch = endpoint.BatchGetFragmentsRequest(digests=[UNKNOWN] * 10_001)
        expect(lambda: daemon.endpoint.BatchGetFragments(batch), "INVALID_ARGUMENT", "TOO_MANY", "BadRequest", limit="10000")

    # What a client says is never believed.
    upload = tracked.tracker.CreateUpload(tracker.CreateUploadRequest()).upload

    def writing(**message):
        return lambda: tracked.tracker.WriteFragments(iter([tracker.WriteFragmentsRequest(upload=upload.name, finish_fragment=True, **message)]))

    expect(writing(digest=UNKNOWN, data=b"lie"), "INVALID_ARGUMENT", "DIGEST_MISMATCH", "BadRequest", actual=digest_of(b"lie"))
    expect(writing(data=b"x" * 1025), "INVALID_ARGUMENT", "WRONG_FRAGMENT_SIZE", "BadRequest", expected_bytes="1024")
    expect(writing(data=b"x", write_offset=5), "INVALID_ARGUMENT", "WRONG_WRITE_OFFSET", "BadRequest", actual="5")
    expect(writing(data=b"x", file_offset=5), "INVALID_ARGUMENT", "INVALID_FIELD", "BadRequest", field="file_offset")
    writing(data=b"right", file_offset=0)()
    complete = tracker.CompleteUploadRequest(name=upload.name, digest=UNKNOWN)
    expect(lambda: tracked.tracker.CompleteUpload(complete), "INVALID_ARGUMENT", "DIGEST_MISMATCH")
    request = tracker.CreateUploadRequest(size_bytes=4)
    short = tracked.tracker.CreateUpload(request).upload
    tracked.tracker.WriteFragments(iter([tracker.WriteFragmentsRequest(upload=short.name, data=b"short", finish_fragment=True)]))
    expect(lambda: tracked.tracker.CompleteUpload(tracker.CompleteUploadRequest(name=short.name)), "INVALID_ARGUMENT", "SIZE_MISMATCH", "BadRequest")
    gap = tracked.tracker.CreateUpload(tracker.CreateUploadRequest()).upload
    tracked.tracker.WriteFragments(pieces(gap, content(10, 2500), [0, 2048]))
    ended = tracker.CompleteUploadRequest(name=gap.name)
    expect(lambda: tracked.tracker.CompleteUpload(ended), "FAILED_PRECONDITION", "FRAGMENTS_MISSING", "PreconditionFailure", first_missing_offset="1024")
    tracked.tracker.WriteFragments(pieces(gap, content(10, 2500), [1024]))
    assert tracked.tracker.CompleteUpload(ended).file.size_bytes == 2500
    early = tracked.tracker.CreateUpload(tracker.CreateUploadRequest(size_bytes=1500, digest=digest_of(content(11, 1500)))).upload
    tracked.tracker.WriteFragments(pieces(early, content(11, 1500), [0]))
    ended = tracker.CompleteUploadRequest(name=early.name)
    expect(lambda: tracked.tracker.CompleteUpload(ended), "FAILED_PRECONDITION", "FRAGMENTS_MISSING", "PreconditionFailure", first_missing_offset="1024")
    half = tracker.WriteFragmentsRequest(upload=early.name, data=b"half", file_offset=1024)
    expect(lambda: tracked.tracker.WriteFragments(iter([half])), "INVALID_ARGUMENT", "INVALID_FIELD", "BadRequest", field="finish_fragment")
    large = tracker.WriteFragmentsRequest(upload=upload.name, data=bytes(2 << 20))
    expect(lambda: tracked.tracker.WriteFragments(iter([large])), "OUT_OF_RANGE", "MESSAGE_TOO_LARGE")

    few = tracker.CreateUploadRequest(min_servers=4)
    expect(lambda: tracked.tracker.CreateUpload(few), "FAILED_PRECONDITION", "TOO_FEW_TORRENTS", "PreconditionFailure", registered="3", wanted="4")
    huge = tracker.CreateUploadRequest(size_bytes=2**60)
    expect(lambda: tracked.tracker.CreateUpload(huge), "RESOURCE_EXHAUSTED", "NO_SPACE", "QuotaFailure", needed_bytes=str(2**60))

    # A file may be named in every way when it is deleted too.
    delete = tracker.DeleteFileRequest(name=file.digest)
    tracked.tracker.DeleteFile(delete)
    expect(lambda: tracked.tracker.DeleteFile(delete), "NOT_FOUND", "FILE_NOT_FOUND", "ResourceInfo")
    tracked.tracker.DeleteFile(tracker.DeleteFileRequest(name=file.digest.removeprefix("sha256:").upper(), allow_missing=True))
    expect(lambda: tracked.tracker.DeleteFile(tracker.DeleteFileRequest(name="x")), "INVALID_ARGUMENT", "INVALID_DIGEST", "BadRequest")
    drain = tracker.DrainServerRequest(name="servers/nobody")
    expect(lambda: tracked.tracker.DrainServer(drain), "NOT_FOUND", "SERVER_NOT_FOUND", "ResourceInfo", server="nobody")


def deadlines(tracked, torrents):
    """A call ends when its client says so, and takes nothing with it."""
    for daemon in [tracked, *torrents]:
        begun = time.monotonic()
        assert failure(lambda: daemon.endpoint.Watch(endpoint.WatchRequest(), timeout=0.3)).code == "DEADLINE_EXCEEDED"
        assert time.monotonic() - begun < 5
        # More than may watch at once, one after the other.
        for _ in range(200):
            stream = daemon.endpoint.Watch(endpoint.WatchRequest())
            next(stream)
            stream.cancel()
        eventually("the places of those that went are free", lambda: endpoint.WATCH_KIND_SNAPSHOT_BEGUN == next(daemon.endpoint.Watch(endpoint.WatchRequest())).kind)


def only_at_tracker(tracked, torrents):
    """A torrent says of everything that the tracker does that it does not do it, and where the tracker is."""
    known = ",".join(tracked.endpoint.GetNetwork(endpoint.GetNetworkRequest()).tracker_endpoints)
    for torrent in torrents:
        for call in [
            lambda: torrent.tracker.CreateUpload(tracker.CreateUploadRequest()),
            lambda: torrent.tracker.GetUpload(tracker.GetUploadRequest()),
            lambda: torrent.tracker.FindMissingFragments(tracker.FindMissingFragmentsRequest()),
            lambda: torrent.tracker.WriteFragments(iter([tracker.WriteFragmentsRequest(data=b"x")])),
            lambda: torrent.tracker.CompleteUpload(tracker.CompleteUploadRequest()),
            lambda: torrent.tracker.CancelUpload(tracker.CancelUploadRequest()),
            lambda: torrent.tracker.DeleteFile(tracker.DeleteFileRequest()),
            lambda: torrent.tracker.DrainServer(tracker.DrainServerRequest()),
        ]:
            expect(call, "UNIMPLEMENTED", "ONLY_AT_TRACKER", tracker_endpoints=known)


def services(tracked, torrents):
    """Health, and what grpcurl does."""
    for daemon, offered in [(tracked, SERVICES), *((torrent, SERVICES[:2]) for torrent in torrents)]:
        health = health_pb2_grpc.HealthStub(daemon.channel)
        for service in ["", *offered]:
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
        if daemon is not tracked:
            answer = health.Check(health_pb2.HealthCheckRequest(service=SERVICES[2]))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        database = ProtoReflectionDescriptorDatabase(daemon.channel)
        v1alpha = set(database.get_services())
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        v1 = daemon.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        listed = {service.name for service in next(v1(iter([request]))).list_services_response.service}
        assert set(SERVICES) <= v1alpha & listed, (v1alpha, listed)

        # A call made from nothing but what the server says of itself.
        pool = descriptor_pool.DescriptorPool(database)
        method = pool.FindServiceByName("mds.v1.EndpointService").FindMethodByName("GetNetwork")
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)
        call = daemon.channel.unary_unary(
            "/mds.v1.EndpointService/GetNetwork", request_class.SerializeToString, response_class.FromString
        )
        assert call(request_class()).digest_functions == ["sha256"]


def no_space(tracked, _):
    """The torrents are small."""
    request = tracker.CreateUploadRequest(size_bytes=10 << 20)
    expect(lambda: tracked.tracker.CreateUpload(request), "RESOURCE_EXHAUSTED", "NO_SPACE", "QuotaFailure", needed_bytes=str(10 << 20))
    blob = bytestream.WriteRequest(resource_name=f"uploads/{uuid.uuid4()}/blobs/{UNKNOWN}/{10 << 20}", data=b"x")
    expect(lambda: tracked.blobs.Write(iter([blob])), "RESOURCE_EXHAUSTED", "NO_SPACE", "QuotaFailure")
    assert put(tracked, content(7, 5000)).size_bytes == 5000, "what fits is taken"

    # What is there already needs no room, though nobody can know that when the upload is created.
    data = content(10, 1200 << 10)
    file = put(tracked, data)
    eventually("the file has its copies", lambda: copies(tracked, file.name) == 2)
    announced = tracker.CreateUploadRequest(size_bytes=len(data))
    upload = tracked.tracker.CreateUpload(announced).upload
    tracked.tracker.WriteFragments(pieces(upload, data, range(0, len(data), upload.fragment_size_bytes)))
    assert tracked.tracker.CompleteUpload(tracker.CompleteUploadRequest(name=upload.name)).file.digest == file.digest
    # As much that is not there is refused as soon as it shows.
    upload = tracked.tracker.CreateUpload(announced).upload
    other = content(11, len(data))
    fragments = pieces(upload, other, range(0, len(data), upload.fragment_size_bytes))
    expect(lambda: tracked.tracker.WriteFragments(fragments), "RESOURCE_EXHAUSTED", "NO_SPACE", "QuotaFailure")
    tracked.tracker.CancelUpload(tracker.CancelUploadRequest(name=upload.name))
    name = f"uploads/{uuid.uuid4()}/blobs/{hashlib.sha256(other).hexdigest()}/{len(other)}"
    blob = (bytestream.WriteRequest(resource_name=name, write_offset=at, data=other[at : at + 60000], finish_write=at + 60000 >= len(other)) for at in range(0, len(other), 60000))
    expect(lambda: tracked.blobs.Write(blob), "RESOURCE_EXHAUSTED", "NO_SPACE", "QuotaFailure")


def too_large(tracked, _):
    """Events are small: what they cannot describe is refused before a byte is sent."""
    request = tracker.CreateUploadRequest(size_bytes=2 << 20)
    expect(lambda: tracked.tracker.CreateUpload(request), "FAILED_PRECONDITION", "FILE_TOO_LARGE", "PreconditionFailure")
    blob = bytestream.WriteRequest(resource_name=f"uploads/{uuid.uuid4()}/blobs/{UNKNOWN}/{2 << 20}", data=b"x")
    expect(lambda: tracked.blobs.Write(iter([blob])), "FAILED_PRECONDITION", "FILE_TOO_LARGE", "PreconditionFailure")
    # Their size is not told.
    expect(lambda: put(tracked, content(12, 1 << 20)), "FAILED_PRECONDITION", "FILE_TOO_LARGE", "PreconditionFailure")


BEGUN = tracker.CreateUploadRequest(size_bytes=1500, request_id=str(uuid.UUID(int=4)), min_servers=3)


def begin_with_three(tracked, _):
    """Afterwards a torrent leaves."""
    upload = tracked.tracker.CreateUpload(BEGUN).upload
    tracked.tracker.WriteFragments(pieces(upload, content(9, 1500), [0]))


def go_on_with_two(tracked, _):
    """The same request is the same upload, though it would not be accepted now."""
    other = tracker.CreateUploadRequest(size_bytes=1500, request_id=str(uuid.uuid4()), min_servers=3)
    expect(lambda: tracked.tracker.CreateUpload(other), "FAILED_PRECONDITION", "TOO_FEW_TORRENTS", registered="2")
    upload = tracked.tracker.CreateUpload(BEGUN).upload
    assert upload.committed_bytes == 1024, upload
    tracked.tracker.WriteFragments(pieces(upload, content(9, 1500), [1024]))
    assert tracked.tracker.CompleteUpload(tracker.CompleteUploadRequest(name=upload.name)).file.size_bytes == 1500
    assert tracked.tracker.CreateUpload(BEGUN).upload.state == resources.UPLOAD_STATE_COMPLETE


def no_broker(tracked, torrents):
    """The broker is gone; a file from before is there."""
    for daemon in [tracked, *torrents]:
        eventually("the daemon notices", lambda: not daemon.endpoint.GetNetwork(endpoint.GetNetworkRequest()).broker_connected)
        health = health_pb2_grpc.HealthStub(daemon.channel)
        for service in ["", *SERVICES[:2]]:
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
        file = next(iter(daemon.endpoint.ListFiles(endpoint.ListFilesRequest()).files))
        data = read(daemon.endpoint.ReadFile(endpoint.ReadFileRequest(name=file.name)))
        assert digest_of(data) == file.digest
        assert next(daemon.endpoint.Watch(endpoint.WatchRequest())).kind == endpoint.WATCH_KIND_SNAPSHOT_BEGUN
    health = health_pb2_grpc.HealthStub(tracked.channel)
    service = health_pb2.HealthCheckRequest(service=SERVICES[2])
    eventually("uploads are not served", lambda: health.Check(service).status == health_pb2.HealthCheckResponse.NOT_SERVING)
    expect(lambda: put(tracked, content(8, 100)), "UNAVAILABLE", "NO_BROKER", "RetryInfo")
    expect(lambda: tracked.tracker.DeleteFile(tracker.DeleteFileRequest(name=file.name)), "UNAVAILABLE", "NO_BROKER", "RetryInfo")
    expect(lambda: tracked.tracker.DrainServer(tracker.DrainServerRequest(name="servers/t1")), "UNAVAILABLE", "NO_BROKER", "RetryInfo")


PARTS = {
    "all": [upload_with_a_break, cancelled_upload, lists, ranges, watch, byte_stream, failures, deadlines, only_at_tracker, services],
    "no-space": [no_space],
    "no-broker": [no_broker],
    "too-large": [too_large],
    "begin-with-three": [begin_with_three],
    "go-on-with-two": [go_on_with_two],
}


def main():
    part, tracker_address, *torrent_addresses = sys.argv[1:]
    for check in PARTS[part]:
        print(f"{check.__name__} …", flush=True)
        begun = time.monotonic()
        check(Daemon(tracker_address), [Daemon(address) for address in torrent_addresses])
        print(f"{check.__name__} ok, {time.monotonic() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    main()
