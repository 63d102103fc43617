"""A small client for a Kubernetes API, of nothing but the standard library: requests and watches on kept connections."""
import base64
import http.client
import json
import pathlib
import re
import ssl
import tempfile
import urllib.parse


class ApiError(Exception):
    def __init__(self, method, path, status, body):
        super().__init__(f'{method} {path}: {status} {body[:300]!r}')
        self.status = status


class Cluster:
    """Where a kubeconfig points. It is read line by line, a {, member} or [, item] being one too (Python has no YAML): one
    cluster and one user are expected in it, as brume, kubeadm, k3s and kind write them."""

    def __init__(self, kubeconfig):
        text = re.sub(r'[{}\[\],]', '\n', pathlib.Path(kubeconfig).read_text())

        def field(name):
            match = re.search(rf'^\s*-?\s*"?{name}"?:\s*"?([^"\s]+)"?\s*$', text, re.M)
            return match.group(1) if match else None

        def content(name):
            if data := field(name + '-data'):
                return base64.b64decode(data).decode()
            return pathlib.Path(field(name)).read_text() if field(name) else None

        if field('server') is None:
            raise SystemExit(f'{kubeconfig}: no cluster with a server is in it')
        self.url = field('server').rstrip('/')
        where = urllib.parse.urlsplit(self.url)
        self.host, self.port = where.hostname, where.port or 443
        self.token = field('token')
        self.tls = ssl.create_default_context(cadata=content('certificate-authority'))
        certificate, key = content('client-certificate'), content('client-key')
        if certificate and key:
            with tempfile.NamedTemporaryFile('w', suffix='.pem') as file:  # load_cert_chain takes nothing but a file
                file.write(certificate + '\n' + key)
                file.flush()
                self.tls.load_cert_chain(file.name)

    def connect(self, timeout=60):
        return Connection(self, timeout)


class Connection:
    """One kept connection. Not for several threads at once."""

    def __init__(self, cluster, timeout):
        self.http = http.client.HTTPSConnection(cluster.host, cluster.port, context=cluster.tls, timeout=timeout)
        self.headers = {'Authorization': 'Bearer ' + cluster.token} if cluster.token else {}

    def send(self, method, path, body=None, content_type='application/json'):
        """The raw status and body."""
        data = None if body is None else json.dumps(body, separators=(',', ':')).encode()
        self.http.request(method, path, data, {**self.headers, 'Accept': 'application/json', **({'Content-Type': content_type} if data else {})})
        response = self.http.getresponse()
        return response.status, response.read()

    def call(self, method, path, body=None, allow=()):
        """The parsed answer; ApiError for a status of 300 and more that is not in `allow`."""
        status, data = self.send(method, path, body)
        if status >= 300 and status not in allow:
            raise ApiError(method, path, status, data)
        return json.loads(data) if data[:1] == b'{' else data

    def get(self, path):
        return self.call('GET', path)

    def create(self, path, body, allow=()):
        return self.call('POST', path, body, allow)

    def patch(self, path, body):
        """A merge patch."""
        status, data = self.send('PATCH', path, body, 'application/merge-patch+json')
        if status >= 300:
            raise ApiError('PATCH', path, status, data)
        return json.loads(data)

    def delete(self, path, body=None, allow=(404,)):
        return self.call('DELETE', path, body, allow)

    def watch(self, path, version):
        """Yields (type, object) from `version` on, until the connection is closed or times out."""
        separator = '&' if '?' in path else '?'
        self.http.request('GET', f'{path}{separator}watch=1&resourceVersion={version}', headers=self.headers)
        response = self.http.getresponse()
        if response.status != 200:
            raise ApiError('WATCH', path, response.status, response.read())
        while line := response.readline():
            event = json.loads(line)
            yield event['type'], event['object']

    def close(self):
        self.http.close()


def condition(thing, name):
    return any(c['type'] == name and c['status'] == 'True' for c in thing.get('status', {}).get('conditions', []))
