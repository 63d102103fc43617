"""pods/proxy, services/proxy and nodes/proxy: any request to a server in a pod, through the API server."""
import json
import unittest

from harness import NodeTest, pod, service

ECHO = r'''mkdir -p /www/cgi-bin; printf '<a href="/x">go</a>' > /www/index.html
echo '#!/bin/sh
printf "Content-Type: text/plain\r\n\r\n"; echo "$REQUEST_METHOD $REQUEST_URI $HTTP_AUTHORIZATION"; cat' > /www/cgi-bin/echo
echo '#!/bin/sh
printf "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"' > /www/cgi-bin/away
chmod +x /www/cgi-bin/*; exec httpd -f -p 8080 -h /www'''


class Proxy(NodeTest):
    def setUp(self):
        super().setUp()
        self.apply(pod('web', ECHO, ports=[{'containerPort': 8080}], readinessProbe={'tcpSocket': {'port': 8080}, 'periodSeconds': 1}),
                   service('web', {'app': 'web'}, {'port': 80, 'targetPort': 8080}))
        self.wait_running('web')
        self.base = f'/api/v1/namespaces/{self.ns}'
        self.wait(lambda: self.peek('endpoints', 'web').get('subsets'))

    def test_names(self):
        for name in ('pods/web', 'pods/web:8080', 'pods/http:web:8080', 'pods/http:web:', 'services/web', 'services/web:80', 'services/http:web:'):
            with self.subTest(name):
                answer = self.node.api('GET', f'{self.base}/{name}/proxy/cgi-bin/echo?a=b%20c')
                self.assertEqual((200, 'GET /cgi-bin/echo?a=b%20c \n'), (answer.status, answer.text))
        for name, status in (('pods/none', 404), ('pods/ftp:web:80', 400), ('pods/web:9', 503), ('services/none', 404), ('services/web:81', 503)):
            with self.subTest(name):
                self.assertEqual(status, self.node.api('GET', f'{self.base}/{name}/proxy/').status)

    def test_methods_and_bodies(self):
        for method in ('POST', 'GET'):
            with self.subTest(method):
                answer = self.node.api(method, f'{self.base}/pods/web/proxy/cgi-bin/echo', body='hello' if method == 'POST' else None)
                self.assertEqual(f'{method} /cgi-bin/echo \n' + 'hello' * (method == 'POST'), answer.text)
        answer = self.node.api('HEAD', f'{self.base}/pods/web/proxy/index.html')
        self.assertEqual((200, '19'), (answer.status, answer.headers['content-length']))

    def test_links_lead_back(self):
        proxy = f'{self.base}/pods/web/proxy'
        self.assertEqual(f'<a href="{proxy}/x">go</a>', self.node.api('GET', proxy + '/').text)
        answer = self.node.api('GET', proxy)
        self.assertEqual((301, proxy + '/'), (answer.status, answer.headers['location']))
        answer = self.node.api('GET', proxy + '/cgi-bin/away')
        self.assertEqual((302, proxy + '/there'), (answer.status, answer.headers['location']))

    def test_credentials_stay(self):
        self.k('create', 'serviceaccount', 'caller')
        self.k('create', 'role', 'caller', '--verb=get', '--resource=pods/proxy')
        self.k('create', 'rolebinding', 'caller', '--role=caller', f'--serviceaccount={self.ns}:caller')
        request = json.dumps({'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenRequest', 'spec': {}})
        token = self.node.api('POST', f'{self.base}/serviceaccounts/caller/token', body=request).json()['status']['token']
        path = f'{self.base}/pods/web/proxy/cgi-bin/echo'
        self.assertEqual('GET /cgi-bin/echo \n', self.node.api('GET', path, token=token).text)
        self.assertEqual(403, self.node.api('POST', path, body='x', token=token).status)

    def test_node(self):
        name = self.node.get('nodes')['items'][0]['metadata']['name']
        self.assertEqual('ok', self.node.api('GET', f'/api/v1/nodes/{name}/proxy/healthz').text)
        pods = json.loads(self.k('get', '--raw', f'/api/v1/nodes/{name}/proxy/pods'))
        self.assertIn('web', [p['metadata']['name'] for p in pods['items']])


if __name__ == '__main__':
    unittest.main()
