"""A proxy that knows CONNECT, for tests: connect_proxy.py PORT USER:PASSWORD. Whatever host is asked for, it connects to 127.0.0.1 on
the port that is asked for, so that names work which no name server has. Prints what it was asked, a line each."""
import base64
import re
import select
import socket
import sys
import threading


def serve(client, credentials):
    head = b''
    while b'\r\n\r\n' not in head:
        part = client.recv(4096)
        if not part:
            return client.close()
        head += part
    asked = re.match(rb'CONNECT (\S+):(\d+) ', head)
    print(head.split(b'\r\n')[0].decode(), flush=True)
    if not asked or b'Proxy-Authorization: Basic ' + credentials not in head:
        client.sendall(b'HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n')
        return client.close()
    with socket.create_connection(('127.0.0.1', int(asked.group(2)))) as server, client:
        client.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
        while True:
            for ready in select.select([client, server], [], [])[0]:
                part = ready.recv(65536)
                if not part:
                    return
                (server if ready is client else client).sendall(part)


def main():
    credentials = base64.b64encode(sys.argv[2].encode())
    with socket.create_server(('127.0.0.1', int(sys.argv[1]))) as listener:
        print('listening', flush=True)
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0], credentials), daemon=True).start()


if __name__ == '__main__':
    main()
