"""HTTPS and WebSockets to brume's API by the admin's certificate, from a thread that has entered the node's network namespace."""
import base64
import ctypes
import http.client
import json
import os
import re
import socket
import ssl
import struct
import tempfile
import threading

CLONE_NEWNET = 0x40000000


def enter_namespace(name):
    """Moves the calling thread, and no other, into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open('/run/netns/' + name) as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), 'setns ' + name)


def tls_context(kubeconfig):
    """An SSL context with the kubeconfig's CA and client certificate."""
    text = kubeconfig.read_text()

    def part(name):
        return base64.b64decode(re.search(name + r': *"?([A-Za-z0-9+/=]+)', text).group(1)).decode()

    context = ssl.create_default_context(cadata=part('certificate-authority-data'))
    with tempfile.NamedTemporaryFile('w') as pem:
        pem.write(part('client-certificate-data') + '\n' + part('client-key-data'))
        pem.flush()
        context.load_cert_chain(pem.name)
    return context


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, code, body):
        super().__init__(f'{code}: {body[:300]}')
        self.code = code


class Api:
    """One connection, opened again after it broke. What breaks it comes out as OSError or HTTPException."""

    BROKEN = (OSError, http.client.HTTPException, ssl.SSLError)

    def __init__(self, context, port=6443, timeout=10):
        self.context = context
        self.port = port
        self.timeout = timeout
        self.connection = None

    def open(self):
        if self.connection is None:
            connection = http.client.HTTPSConnection('127.0.0.1', self.port, context=self.context, timeout=self.timeout)
            connection.connect()
            self.connection = connection
        return self.connection

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def call(self, method, path, body=None):
        """The decoded answer; Refused for a status of 400 or more."""
        try:
            connection = self.open()
            connection.request(method, path, None if body is None else json.dumps(body), {'Content-Type': 'application/json'})
            response = connection.getresponse()
            data = response.read()
        except self.BROKEN:
            self.close()
            raise
        if response.status >= 400:
            raise Refused(response.status, data.decode(errors='replace'))
        return json.loads(data) if data[:1] == b'{' else data.decode()

    def watch(self, path):
        """Yields events; ends when the server ends the response. A line cut in the middle is not an event."""
        try:
            connection = self.open()
            connection.request('GET', path)
            response = connection.getresponse()
            if response.status != 200:
                raise Refused(response.status, response.read().decode(errors='replace'))
            while True:
                line = response.readline()
                if not line.endswith(b'\n'):
                    return
                yield json.loads(line)
        finally:
            self.close()


class WebSocket:
    """A WebSocket by hand, so that a test sees and decides each frame. Text and binary frames come as they are; nothing is answered
    by itself."""

    TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

    def __init__(self, namespace, context, path, protocol, port=6443, timeout=20, receive_buffer=None):
        self.buffer = b''
        self.socket = None
        self.error = None
        thread = threading.Thread(target=self._connect, args=(namespace, context, port, timeout, receive_buffer))
        thread.start()
        thread.join()
        if self.error:
            raise self.error
        self.socket.sendall((f'GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
                             'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
                             f'Sec-WebSocket-Protocol: {protocol}\r\n\r\n').encode())
        while b'\r\n\r\n' not in self.buffer:
            self._fill()
        self.head, self.buffer = self.buffer.split(b'\r\n\r\n', 1)
        if b' 101 ' not in self.head.split(b'\r\n')[0]:
            self.close()
            raise Refused(int(self.head.split()[1]), self.buffer.decode(errors='replace'))

    def _connect(self, namespace, context, port, timeout, receive_buffer):
        try:
            enter_namespace(namespace)
            plain = socket.socket()
            if receive_buffer:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            plain.settimeout(timeout)
            plain.connect(('127.0.0.1', port))
            self.socket = context.wrap_socket(plain, server_hostname='localhost')
        except OSError as error:
            self.error = error

    def _fill(self):
        more = self.socket.recv(65536)
        if not more:
            raise EOFError('the connection ended')
        self.buffer += more

    def _take(self, size):
        while len(self.buffer) < size:
            self._fill()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def receive(self, timeout=None):
        """The next frame: opcode and payload. TimeoutError when none begins within `timeout`."""
        if not self.buffer and timeout is not None:
            before = self.socket.gettimeout()
            self.socket.settimeout(timeout)
            try:
                self._fill()
            finally:
                self.socket.settimeout(before)
        first, size = self._take(2)
        if size > 125:
            size = int.from_bytes(self._take(2 if size == 126 else 8), 'big')
        return first & 15, self._take(size)

    def send(self, opcode, payload=b''):
        size = len(payload)
        head = bytes([128 | size]) if size < 126 else struct.pack('>BH', 254, size) if size < 65536 else struct.pack('>BQ', 255, size)
        self.socket.sendall(bytes([128 | opcode]) + head + bytes(4) + payload)  # a mask of zeros

    def close(self):
        self.socket.close()
