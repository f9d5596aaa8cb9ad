"""The server that wallclockd replaces: a UDP payload is a strftime format, the answer is its text."""
import socket
import sys
import time

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 9527

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", PORT))
    print("listening on %s:%d" % server.getsockname(), file=sys.stderr, flush=True)
    while True:
        data, peer = server.recvfrom(1024)
        answer = time.strftime(data.decode() or "%Y-%m-%d %X")
        server.sendto(answer.encode("utf-8"), peer)
