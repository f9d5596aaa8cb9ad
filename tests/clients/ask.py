# ask.py HOST PORT FORMAT
from secrets import token_hex
from socket import SOCK_DGRAM, socket
from sys import argv, exit
tag, sock = token_hex(8) + "|", socket(type=SOCK_DGRAM)
sock.settimeout(1)
sock.connect((argv[1], int(argv[2])))
sock.send((tag + argv[3]).encode())
head, found, text = sock.recv(2048).decode().rpartition(tag)
print(text) if found and not head else exit("no time: " + text)
