#!/usr/bin/env python3
"""Fetches a file from several torrents at once and verifies it.

    pip install grpcio grpcio-tools
    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/mds/v1/*.proto
    PYTHONPATH=. python examples/python/fetch.py 127.0.0.1:7401 SHA256 OUTPUT

Any daemon will do to begin with: it tells where the fragments are. Each fragment is checked against its own digest, so a torrent
whose bytes are wrong, or that does not answer, costs one more attempt at the next holder and nothing else. What no holder gives,
because nobody holds it yet or nobody answers, is read through that first daemon: it has the bytes itself, or gets them from others.
"""

import hashlib
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import grpc
from mds.v1 import endpoint_service_pb2 as mds
from mds.v1.endpoint_service_pb2_grpc import EndpointServiceStub

AT_ONCE = 8


def fragments_of(daemon, name):
    """All fragments of a file in file order, and the address of every server that holds some."""
    fragments, addresses = [], {}
    request = mds.ListFragmentsRequest(parent=name, page_size=1000)
    while True:
        page = daemon.ListFragments(request, timeout=10)
        fragments += page.fragments
        for server in page.servers:
            addresses[server.name] = [uri.removeprefix("grpc://") for uri in server.endpoints if uri.startswith("grpc://")]
        request.page_token = page.next_page_token
        if not request.page_token:
            return fragments, addresses


def fetch(fragment, holders, through):
    """The bytes of one fragment from the first that gives the right ones: a holder, or else `through`, which reads part of the file."""
    attempts = [lambda h=h: h.ReadFragment(mds.ReadFragmentRequest(name=fragment.name), timeout=30) for h in holders]
    for attempt in [*attempts, lambda: through(fragment)]:
        try:
            data = b"".join(message.data for message in attempt())
        except grpc.RpcError as error:
            print(f"{fragment.name}: {error.code().name}, {error.details()}", file=sys.stderr)
            continue
        if f"sha256:{hashlib.sha256(data).hexdigest()}" == fragment.digest:
            return data
        print(f"{fragment.name}: other bytes were sent", file=sys.stderr)
    raise SystemExit(f"nobody delivers {fragment.name}")


def main(address, digest, output):
    first = EndpointServiceStub(grpc.insecure_channel(address))
    file = f"files/{digest}"
    fragments, addresses = fragments_of(first, file)

    def through(fragment):
        part = mds.ReadFileRequest(name=file, read_offset=fragment.offset_bytes, read_limit=fragment.size_bytes)
        return first.ReadFile(part, timeout=30)

    stubs = {name: [EndpointServiceStub(grpc.insecure_channel(at)) for at in ats] for name, ats in addresses.items()}
    # A different holder first for each fragment: so all of them deliver at once.
    holders = [[stub for name in random.sample(f.holders, len(f.holders)) for stub in stubs.get(name, [])] for f in fragments]
    whole = hashlib.sha256()
    with open(f"{output}.part", "wb") as part, ThreadPoolExecutor(AT_ONCE) as pool:
        # The pool must not run ahead of the disk: a few fragments at a time are in memory.
        for begin in range(0, len(fragments), 4 * AT_ONCE):
            window = slice(begin, begin + 4 * AT_ONCE)
            for data in pool.map(fetch, fragments[window], holders[window], repeat(through)):
                whole.update(data)
                part.write(data)
    if whole.hexdigest() != digest.removeprefix("sha256:").lower():
        raise SystemExit(f"the whole file hashes to {whole.hexdigest()}")
    os.replace(f"{output}.part", output)
    print(f"{output}: {len(fragments)} fragments from {len(stubs)} torrents, verified")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
