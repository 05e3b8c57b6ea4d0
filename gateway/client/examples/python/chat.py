"""One streamed, moderated call.

    pip install -r requirements.txt
    python -m grpc_tools.protoc -I ../../../../proto --python_out=. --grpc_python_out=. $(cd ../../../../proto && find atelier -name '*.proto')
    python chat.py "Write a short poem about the sea"
"""

import os
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from atelier.common.v1 import model_pb2
from atelier.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from atelier.text.v1 import text_pb2


def main() -> int:
    endpoint = os.environ.get("ATELIER_ENDPOINT", "http://127.0.0.1:50051").removeprefix("http://")
    prompt = " ".join(sys.argv[1:]) or "Write a short poem about the sea"
    request = gateway_pb2.StreamChatRequest(
        messages=[text_pb2.Message(role=text_pb2.ROLE_USER, content=prompt)],
    )
    with grpc.insecure_channel(endpoint) as channel:
        gateway = gateway_pb2_grpc.GatewayServiceStub(channel)
        try:
            for event in gateway.StreamChat(request, timeout=120):
                match event.WhichOneof("event"):
                    case "delta":
                        print(event.delta.text, end="", flush=True)
                    case "verdict":
                        print(f"\n[{gateway_pb2.Action.Name(event.verdict.action)}]")
                    case "completion":
                        print(f"\n[{model_pb2.FinishReason.Name(event.completion.finish_reason)}]")
        except grpc.RpcError as error:
            print(f"error: {error.details()} ({reason(error)})", file=sys.stderr)
            return 1
    return 0


def reason(error: grpc.RpcError) -> str:
    """The stable reason that every error of Atelier carries, such as CONTENT_BLOCKED; else the gRPC code."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else []:
        if detail.Unpack(info):
            return info.reason
    return error.code().name


if __name__ == "__main__":
    sys.exit(main())
