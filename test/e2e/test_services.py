"""Services and cluster DNS, asked from pods and from the node."""
import collections
import json
import re
import unittest

from harness import NodeTest, deployment, needs_dns, pod, service, wait_for

WEB = 'mkdir -p /www/cgi-bin; printf "#!/bin/sh\\necho; hostname\\n" > /www/cgi-bin/who; chmod +x /www/cgi-bin/who; ' \
      'echo page > /www/index.html; exec httpd -f -p 8080 -h /www'


class Services(NodeTest):
    def serve(self, replicas=2, **more):
        """A Deployment "web" that answers /cgi-bin/who with its pod's name, and a pod "client"."""
        self.apply(deployment('web', WEB, replicas=replicas, ports=[{'name': 'http', 'containerPort': 8080}],
                              readinessProbe={'tcpSocket': {'port': 8080}, 'periodSeconds': 1}, **more), pod('client', 'sleep 100000'))
        self.rollout('deploy/web')
        self.wait_running('client')

    def fetch(self, address, seconds=10, pod_name='client'):
        """Until it answers: what http://address/cgi-bin/who gives, from the pod or (None) from the node."""
        url = f'http://{address}/cgi-bin/who'
        def ask():
            if pod_name is None:
                return self.node.run('curl', '-sf', '--max-time', '2', url, check=False).stdout.strip()
            return self.sh(pod_name, f'timeout 2 wget -qO- {url}', check=False).strip()
        return wait_for(ask, seconds, message=url)

    def node_ip(self):
        return self.get('nodes')['items'][0]['status']['addresses'][0]['address']

    def test_cluster_ip(self):
        self.serve(3)
        self.apply(service('web', {'app': 'web'}, {'port': 80, 'targetPort': 'http'}))
        address = self.get('svc', 'web')['spec']['clusterIP']
        self.assertRegex(address, r'^10\.43\.')
        for pod_name in ('client', None):
            self.fetch(address, pod_name=pod_name)
        script = f'for i in $(seq 60); do wget -qO- http://{address}/cgi-bin/who; done'
        spread = collections.Counter(self.sh('client', script).split())
        self.assertEqual({p['metadata']['name'] for p in self.node.pods('app=web', self.ns)}, set(spread), spread)
        # Slices and Endpoints tell the same.
        slices = self.node.api('GET', f'/apis/discovery.k8s.io/v1/namespaces/{self.ns}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dweb').json()['items']
        ips = {a for s in slices for e in s['endpoints'] for a in e['addresses']}
        self.assertEqual({p['status']['podIP'] for p in self.node.pods('app=web', self.ns)}, ips)
        self.assertEqual(ips, {a['ip'] for s in self.peek('endpoints', 'web')['subsets'] for a in s['addresses']})
        self.assertRegex(self.k('describe', 'svc', 'web'), r'Endpoints: +10\.42\.\d+\.\d+:8080,10\.42\.')
        # A pod that goes leaves the Service at once.
        self.k('scale', 'deploy/web', '--replicas=1')
        self.wait(lambda: len(self.node.pods('app=web', self.ns)) == 1, 20)
        left = self.node.pods('app=web', self.ns)[0]['metadata']['name']
        self.wait(lambda: set(self.sh('client', script, check=False).split()) == {left}, 10)

    def test_hairpin(self):
        self.serve(1)
        self.apply(service('web', {'app': 'web'}, {'port': 80, 'targetPort': 8080}))
        address = self.get('svc', 'web')['spec']['clusterIP']
        name = self.node.pods('app=web', self.ns)[0]['metadata']['name']
        self.assertEqual(name, self.fetch(address, pod_name=name))

    def test_no_endpoints_refuses_at_once(self):
        self.apply(pod('client', 'sleep 100000'), service('none', {'app': 'nobody'}, {'port': 80}))
        self.wait_running('client')
        address = self.get('svc', 'none')['spec']['clusterIP']
        def refused():
            out = self.sh('client', f'time -p timeout 5 wget -qO- http://{address}/ 2>&1', check=False)
            return 'refused' in out and float(re.search(r'real (\S+)', out).group(1)) < 1
        self.wait(refused, 10)
        self.assertEqual(7, self.node.run('curl', '-s', '--max-time', '3', f'http://{address}/', check=False).returncode)

    def test_node_port(self):
        self.serve(2)
        self.apply(service('np', {'app': 'web'}, {'port': 80, 'targetPort': 8080, 'nodePort': 30123}, type='NodePort'))
        for pod_name in (None, 'client'):
            self.assertTrue(self.fetch(f'{self.node_ip()}:30123', pod_name=pod_name).startswith('web-'))
        # On the node itself by its loopback address too, whatever the policy, and where the endpoint is the node's own address.
        for policy in ('Cluster', 'Local'):
            self.k('patch', 'svc', 'np', '-p', json.dumps({'spec': {'externalTrafficPolicy': policy}}))
            self.wait(lambda: self.fetch('127.0.0.1:30123', pod_name=None).startswith('web-'), 10)
        self.apply(pod('own', 'mkdir -p /www; echo own > /www/index.html; exec httpd -f -p 8089 -h /www', hostNetwork=True),
                   service('own', {'app': 'own'}, {'port': 80, 'targetPort': 8089, 'nodePort': 30124}, type='NodePort'))
        self.wait(lambda: self.node.run('curl', '-s', '--max-time', '2', 'http://127.0.0.1:30124/', check=False).stdout == 'own\n', 10)
        again = self.kubectl('create', 'service', 'nodeport', 'np2', '--tcp=80:8080', '--node-port=30123')
        self.assertIn('provided port is already allocated', again.stderr)
        far = self.kubectl('create', 'service', 'nodeport', 'np3', '--tcp=80:8080', '--node-port=99')
        self.assertIn('The range of valid ports is 30000-32767', far.stderr)
        taken = self.kubectl('create', 'service', 'clusterip', 'ip2', '--tcp=80', '--clusterip=' + self.get('svc', 'np')['spec']['clusterIP'])
        self.assertIn('provided IP is already allocated', taken.stderr)
        self.k('delete', 'svc', 'np')
        self.wait(lambda: self.node.run('curl', '-s', '--max-time', '2', f'http://{self.node_ip()}:30123/', check=False).returncode != 0, 10)
        self.k('create', 'service', 'nodeport', 'np2', '--tcp=80:8080', '--node-port=30123')

    def test_session_affinity(self):
        self.serve(3)
        self.apply(service('sticky', {'app': 'web'}, {'port': 80, 'targetPort': 8080}, sessionAffinity='ClientIP'))
        address = self.get('svc', 'sticky')['spec']['clusterIP']
        self.fetch(address)
        self.assertEqual(1, len(set(self.sh('client', f'for i in $(seq 20); do wget -qO- http://{address}/cgi-bin/who; done').split())))

    def test_a_firewall_that_drops_by_policy(self):
        """Docker's and ufw's FORWARD chain, loaded while the node runs and loaded anew: pods go on reaching each other."""
        self.serve(1)
        self.apply(service('web', {'app': 'web'}, {'port': 80, 'targetPort': 8080}))
        address = self.get('svc', 'web')['spec']['clusterIP']
        self.addCleanup(self.node.run, 'nft', 'delete', 'table', 'ip', 'filter')
        for _ in range(2):
            self.node.run('nft', '-f', '-', input="""
                table ip filter {}; delete table ip filter
                table ip filter {
                  chain FORWARD { type filter hook forward priority 0; policy drop; }
                  chain INPUT { type filter hook input priority 0; policy drop; iifname lo accept; ct state established accept; }
                }""")
            self.fetch(address, 25)
            kubernetes = 'echo | nc -w 2 10.43.0.1 443 && echo open'
            self.assertIn('open', self.sh('client', kubernetes, check=False))
        self.assertIn('comment "brume: pods"', self.node.run('nft', 'list', 'chain', 'ip', 'filter', 'FORWARD').stdout)

    @needs_dns
    def test_udp(self):
        # busybox has no UDP server, but the cluster's DNS is one.
        self.apply(pod('client', 'sleep 100000'))
        self.wait_running('client')
        target = self.node.wait_pods_ready('k8s-app=kube-dns', 1, 30, 'kube-system')[0]['status']['podIP']
        slice_of = {'apiVersion': 'discovery.k8s.io/v1', 'kind': 'EndpointSlice', 'metadata': {'name': 'u-1', 'labels': {'kubernetes.io/service-name': 'u'}},
                    'addressType': 'IPv4', 'ports': [{'name': 'u', 'port': 53, 'protocol': 'UDP'}], 'endpoints': [{'addresses': [target]}]}
        self.apply(service('u', None, {'name': 'u', 'port': 5300, 'targetPort': 53, 'protocol': 'UDP'}), slice_of)
        address = self.get('svc', 'u')['spec']['clusterIP']
        ask = f'nslookup kubernetes.default.svc.cluster.local {address}:5300'
        self.wait(lambda: 'Address: 10.43.0.1' in self.sh('client', ask, check=False), 15)

    def test_service_without_selector(self):
        self.serve(1)
        target = self.node.pods('app=web', self.ns)[0]['status']['podIP']
        self.apply(service('manual', None, {'port': 80, 'targetPort': 8080}),
                   {'apiVersion': 'discovery.k8s.io/v1', 'kind': 'EndpointSlice', 'metadata': {'name': 'manual-1', 'labels': {'kubernetes.io/service-name': 'manual'}},
                    'addressType': 'IPv4', 'ports': [{'port': 8080, 'protocol': 'TCP'}], 'endpoints': [{'addresses': [target]}]})
        self.assertTrue(self.fetch(self.get('svc', 'manual')['spec']['clusterIP']).startswith('web-'))

    @unittest.skip('nothing mirrors Endpoints into EndpointSlices yet')
    def test_endpoints_without_selector_are_mirrored(self):
        self.serve(1)
        target = self.node.pods('app=web', self.ns)[0]['status']['podIP']
        self.apply(service('old', None, {'port': 80, 'targetPort': 8080}),
                   {'apiVersion': 'v1', 'kind': 'Endpoints', 'metadata': {'name': 'old'}, 'subsets': [{'addresses': [{'ip': target}], 'ports': [{'port': 8080}]}]})
        self.assertTrue(self.fetch(self.get('svc', 'old')['spec']['clusterIP']).startswith('web-'))

    @needs_dns
    def test_publish_not_ready_addresses(self):
        self.apply(deployment('slow', 'sleep 100000', readinessProbe={'exec': {'command': ['false']}}),
                   service('slow', {'app': 'slow'}, {'port': 80}, publishNotReadyAddresses=True, clusterIP='None'), pod('client', 'sleep 100000'))
        self.wait_running('client')
        self.wait(lambda: 'Address: 10.42.' in self.sh('client', f'nslookup slow.{self.ns}.svc.cluster.local', check=False).split('\n\n', 1)[-1], 20)

    def test_pod_to_pod_host_and_the_api(self):
        self.serve(1)
        target = self.node.pods('app=web', self.ns)[0]['status']['podIP']
        self.assertTrue(self.fetch(f'{target}:8080').startswith('web-'))
        self.assertTrue(self.fetch(f'{target}:8080', pod_name=None).startswith('web-'))
        self.assertEqual(0, self.node.kubectl('-n', self.ns, 'exec', 'client', '--', 'ping', '-c1', '-W2', self.node_ip(), check=False).returncode)
        out = self.sh('client', 'nc -w 2 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null && echo open')
        self.assertIn('open', out)
        kubernetes = self.node.get('svc', 'kubernetes', '-n', 'default')['spec']
        self.assertEqual(('10.43.0.1', 443), (kubernetes['clusterIP'], kubernetes['ports'][0]['port']))

    def test_changing_types(self):
        self.serve(1)
        self.apply(service('web', {'app': 'web'}, {'port': 80, 'targetPort': 8080}))
        address = self.get('svc', 'web')['spec']['clusterIP']
        self.k('patch', 'svc', 'web', '-p', '{"spec":{"type":"NodePort"}}')
        port = self.get('svc', 'web')['spec']['ports'][0]['nodePort']
        self.assertTrue(self.fetch(f'{self.node_ip()}:{port}', pod_name=None))
        self.assertEqual(address, self.get('svc', 'web')['spec']['clusterIP'])
        frozen = self.kubectl('patch', 'svc', 'web', '-p', '{"spec":{"clusterIP":"10.43.9.9"}}')
        self.assertRegex(frozen.stderr, r'is invalid: spec\.clusterIPs?(\[0\])?: Invalid value: .*may not change once set')
        self.k('patch', 'svc', 'web', '-p', '{"spec":{"type":"ClusterIP","ports":[{"port":80,"nodePort":null}]}}')
        self.assertNotIn('nodePort', self.get('svc', 'web')['spec']['ports'][0])
        self.k('patch', 'svc', 'web', '--type=json', '-p', '[{"op":"replace","path":"/spec/selector","value":{"app":"none"}}]')
        self.wait(lambda: not self.peek('endpoints', 'web').get('subsets'), 10)


@needs_dns
class Dns(NodeTest):
    def lookup(self, what, kind=None, seconds=10, expect=None):
        """nslookup's answer in the client pod; waits until it has `expect` if given."""
        command = f'nslookup {"-type=" + kind if kind else ""} {what} 2>&1'
        out = ''
        def look():
            nonlocal out
            out = self.sh('client', command, check=False)
            return expect is None or expect in out
        try:
            wait_for(look, seconds)
        except AssertionError:
            raise AssertionError(f'{expect!r} not in the answer for {what}: {out}') from None
        return out

    def setUp(self):
        super().setUp()
        self.apply(pod('client', 'sleep 100000'))
        self.wait_running('client')
        wait_for(lambda: self.node.pods('k8s-app=kube-dns', 'kube-system') and
                 self.node.wait_pods_ready('k8s-app=kube-dns', 1, 20, 'kube-system'), 30)

    def test_add_on(self):
        listed = self.node.kubectl('get', 'pods,svc', '-n', 'kube-system', '-l', 'k8s-app=kube-dns').stdout
        self.assertRegex(listed, r'pod/\S+ +1/1 +Running')
        self.assertRegex(listed, r'service/kube-dns +ClusterIP +10\.43\.0\.10 +<none> +53/UDP,53/TCP')
        self.node.kubectl('logs', '-n', 'kube-system', '-l', 'k8s-app=kube-dns')

    def test_services(self):
        self.apply(service('web', {'app': 'client'}, {'name': 'http', 'port': 80}, {'name': 'dns', 'port': 53, 'protocol': 'UDP'}))
        address = self.get('svc', 'web')['spec']['clusterIP']
        full = f'web.{self.ns}.svc.cluster.local'
        self.lookup(full, expect='Address: ' + address)
        self.assertIn('NXDOMAIN', self.lookup(f'absent.{self.ns}.svc.cluster.local'))
        self.assertIn('10.43.0.1', self.lookup('kubernetes.default.svc.cluster.local'))
        self.assertRegex(self.lookup(f'_http._tcp.{full}', 'srv', expect='80'), rf'0 100 80 {re.escape(full)}')
        self.lookup(f'_dns._udp.{full}', 'srv', expect='53 ' + full)
        self.lookup('.'.join(reversed(address.split('.'))) + '.in-addr.arpa', 'ptr', expect='name = ' + full)
        self.k('delete', 'svc', 'web')
        self.lookup(full, seconds=15, expect='NXDOMAIN')

    def test_headless(self):
        self.apply({**pod('a', 'sleep 100000', labels={'app': 'h'}, hostname='first', subdomain='peers')}, pod('b', 'sleep 100000', labels={'app': 'h'}),
                   service('peers', {'app': 'h'}, {'name': 'db', 'port': 5432}, clusterIP='None'))
        ips = [self.wait_running(name)['status']['podIP'] for name in 'ab']
        full = f'peers.{self.ns}.svc.cluster.local'
        for ip in ips:
            self.lookup(full, expect='Address: ' + ip)
        self.lookup('first.' + full, expect='Address: ' + ips[0])
        srv = self.lookup(f'_db._tcp.{full}', 'srv', expect='5432 first.' + full)
        self.assertIn('5432 ' + ips[1].replace('.', '-') + '.' + full, srv)
        self.lookup('.'.join(reversed(ips[0].split('.'))) + '.in-addr.arpa', 'ptr', expect='first.' + full)
        self.lookup(ips[1].replace('.', '-') + f'.{self.ns}.pod.cluster.local', expect='Address: ' + ips[1])

    def test_external_name(self):
        self.apply({'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'out'}, 'spec': {'type': 'ExternalName', 'externalName': 'db.example.org'}})
        self.lookup(f'out.{self.ns}.svc.cluster.local', 'cname', expect='canonical name = db.example.org')

    def test_aaaa_is_an_empty_answer_and_foreign_names_fail(self):
        out = self.lookup('kubernetes.default.svc.cluster.local', 'aaaa')
        self.assertNotIn('NXDOMAIN', out)
        self.assertNotIn("can't find", out.replace("Can't find", "can't find").split('No answer')[0])
        self.assertRegex(self.lookup('no.such.zone.example'), r'SERVFAIL|NXDOMAIN|REFUSED|timed out')

    def test_over_tcp(self):
        # A query for kubernetes.default.svc.cluster.local with the length that TCP asks for.
        labels = b''.join(bytes([len(x)]) + x for x in b'kubernetes default svc cluster local'.split()) + b'\0'
        message = b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00' + labels + b'\x00\x01\x00\x01'
        octal = ''.join(f'\\{byte:03o}' for byte in len(message).to_bytes(2, 'big') + message)
        out = self.sh('client', f"printf '{octal}' | nc -w 2 10.43.0.10 53 | xxd -p | tr -d '\\n'")
        self.assertTrue(out.endswith('0a2b0001'), out)


if __name__ == '__main__':
    unittest.main()
