"""The client that wallclock replaces: asks once and prints what comes."""
import socket
import sys

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 9527

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.sendto(b"%Y/%m/%d %H:%M:%S", ("127.0.0.1", PORT))
    print(client.recvfrom(1024)[0].decode("utf-8"))
