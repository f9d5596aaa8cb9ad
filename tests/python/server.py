import socket
import time

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', 9527))
while True:
    data, addr = s.recvfrom(1024)
    fmt = data.decode() or '%Y-%m-%d %X'
    s.sendto(time.strftime(fmt).encode(), addr)
