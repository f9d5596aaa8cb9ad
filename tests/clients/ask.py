# ask.py HOST PORT FORMAT
import secrets, socket, sys
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line.settimeout(1)
line.connect((sys.argv[1], int(sys.argv[2])))
nonce = secrets.token_hex(8) + "|"
line.send((nonce + sys.argv[3]).encode())
answer = line.recv(2048).decode()
if not answer.startswith(nonce):
    sys.exit("no time: " + answer)
print(answer.removeprefix(nonce))
