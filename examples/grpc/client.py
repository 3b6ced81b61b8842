"""A client of greeter.py, with grpcio (`pip install grpcio`).

$ python examples/grpc/client.py
"""

from __future__ import annotations

import sys

import grpc

TEXT = {"request_serializer": str.encode, "response_deserializer": bytes.decode}


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        hello = channel.unary_unary("/example.Greeter/Hello", **TEXT)
        print(hello("Ada", timeout=10))

        hello_to_all = channel.stream_unary("/example.Greeter/HelloToAll", **TEXT)
        print(hello_to_all(iter(["Ada", "Grace", "Barbara"]), timeout=10))

        count = channel.unary_stream("/example.Greeter/Count", **TEXT)
        print(*count("5", timeout=10))

        chat = channel.stream_stream("/example.Greeter/Chat", **TEXT)
        for answer in chat(iter(["one", "two"]), timeout=10):
            print(answer)

        try:
            hello("", timeout=10)
        except grpc.RpcError as error:
            print(error.code().name, error.details())


if __name__ == "__main__":
    main(*sys.argv[1:] or ["127.0.0.1:8000"])
