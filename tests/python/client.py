import socket

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto('%Y/%m/%d %H:%M:%S'.encode(), ('127.0.0.1', 9527))
data, addr = s.recvfrom(1024)
print(data.decode())
s.close()
