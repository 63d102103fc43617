"""HTTPS to brume's API by the admin's certificate, from a thread that has entered the node's network namespace."""
import base64
import ctypes
import http.client
import json
import os
import re
import ssl
import tempfile

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
