"""The API as kubectl and raw requests see it."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from harness import BRUME, Node, NodeTest, config_map, deployment, needs_kubectl, newest_kubectl, pod, service, wait_for
from test_pods import read_until, terminal

CM = '/api/v1/namespaces/{ns}/configmaps'


class Api(NodeTest):
    import_images = False

    def raw(self, method, path, *args, **kwargs):
        return self.node.api(method, path.format(ns=self.ns), *args, **kwargs)

    # Discovery and documentation -------------------------------------------------------------------------------------

    @needs_kubectl(28)
    def test_discovery(self):
        listed = self.k('api-resources')
        for line in (r'pods +po +v1 +true +Pod', r'deployments +deploy +apps/v1 +true +Deployment', r'nodes +no +v1 +false +Node',
                     r'horizontalpodautoscalers +hpa +autoscaling/v2 +true', r'cronjobs +cj +batch/v1 +true', r'ingresses +ing +networking.k8s.io/v1 +true'):
            self.assertRegex(listed, line)
        versions = self.k('api-versions').split()
        self.assertLessEqual({'v1', 'apps/v1', 'batch/v1', 'rbac.authorization.k8s.io/v1', 'discovery.k8s.io/v1', 'events.k8s.io/v1'}, set(versions))
        self.assertRegex(self.k('version'), r'Server Version: v1\.36\.\d+\+brume')
        self.assertIn('is running at', self.k('cluster-info'))
        self.assertEqual('ok', self.k('get', '--raw', '/readyz'))
        self.assertIn('[+]', self.k('get', '--raw', '/livez?verbose'))
        self.assertIn('# TYPE', self.k('get', '--raw', '/metrics'))
        self.assertEqual(404, self.raw('GET', '/no/such/path').status)
        everything = self.k('get', 'all')
        self.assertEqual('', everything)

    @needs_kubectl(27)
    def test_explain(self):
        text = self.k('explain', 'pod.spec.containers.livenessProbe.httpGet')
        self.assertIn('FIELD: httpGet <HTTPGetAction>', text)
        self.assertRegex(text, r'port\s+<IntOrString> -required-')
        self.assertIn('VERSION:    v1', self.k('explain', 'deploy'))
        self.assertIn('field "nope" does not exist', self.kubectl('explain', 'pod.spec.nope').stderr)

    def test_every_listable_resource_lists(self):
        names = self.k('api-resources', '--verbs=list', '-o', 'name').split()
        self.assertGreater(len(names), 50)
        result = self.kubectl('get', ','.join(names), '-A')
        self.assertEqual(0, result.returncode, result.stderr)

    def test_output_formats(self):
        self.apply(config_map('a', k='v'))
        self.assertEqual('v', self.k('get', 'cm', 'a', '-o', 'jsonpath={.data.k}'))
        self.assertIn('k: v', self.k('get', 'cm', 'a', '-o', 'yaml'))
        self.assertEqual('configmap/a\n', self.k('get', 'cm', 'a', '-o', 'name'))
        self.assertRegex(self.k('get', 'cm', 'a', '-o', 'custom-columns=N:.metadata.name'), 'N\na\n')
        self.assertRegex(self.k('get', 'cm', 'a'), r'NAME +DATA +AGE\na +1 ')
        self.assertRegex(self.k('get', 'cm', '--show-labels', '-L', 'x', '--sort-by=.metadata.name'), 'LABELS')
        self.assertRegex(self.k('get', 'ns', 'default'), r'default +Active')
        for accept, start in (('application/json;as=Table;v=v1;g=meta.k8s.io', '{'), ('application/yaml', 'apiVersion: v1'),
                              ('application/vnd.kubernetes.protobuf,application/json', '{'), ('application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io', '{')):
            answer = self.raw('GET', CM, headers=['Accept: ' + accept])
            self.assertEqual((200, True), (answer.status, answer.text.startswith(start)), accept)
        self.assertEqual(406, self.raw('GET', CM, headers=['Accept: image/png']).status)

    # Writes ----------------------------------------------------------------------------------------------------------

    @needs_kubectl(24)
    def test_patches(self):
        self.apply(deployment('web', image='localhost/a:1', replicas=0))
        self.k('patch', 'deploy', 'web', '--type=json', '-p', '[{"op":"test","path":"/spec/replicas","value":0},{"op":"add","path":"/metadata/labels","value":{"a":"1"}}]')
        self.k('patch', 'deploy', 'web', '--type=merge', '-p', '{"metadata":{"labels":{"b":"2","a":null}}}')
        self.k('patch', 'deploy', 'web', '-p', '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"localhost/b:1"}]}}}}')
        got = self.get('deploy', 'web')
        self.assertEqual({'b': '2'}, got['metadata']['labels'])
        self.assertEqual({'main', 'side'}, {c['name'] for c in got['spec']['template']['spec']['containers']})
        self.k('patch', 'deploy', 'web', '-p', '{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}')
        self.assertEqual(1, len(self.get('deploy', 'web')['spec']['template']['spec']['containers']))
        path = f'/apis/apps/v1/namespaces/{self.ns}/deployments/web'
        self.assertEqual(422, self.raw('PATCH', path, '[{"op":"test","path":"/spec/replicas","value":9}]', 'application/json-patch+json').status)
        self.assertEqual(400, self.raw('PATCH', path, '{"not":"a list"}', 'application/json-patch+json').status)
        self.assertEqual(415, self.raw('PATCH', path, '{}', 'text/plain').status)
        self.k('patch', 'deploy', 'web', '--subresource=scale', '--type=merge', '-p', '{"spec":{"replicas":0}}')
        self.k('label', 'deploy', 'web', 'x=y')
        self.k('annotate', 'deploy', 'web', 'note=text')
        self.assertIn("'x' already has a value", self.kubectl('label', 'deploy', 'web', 'x=z').stderr)
        self.k('set', 'resources', 'deploy/web', '--limits=cpu=100m')
        self.k('set', 'serviceaccount', 'deploy/web', 'default')
        self.k('autoscale', 'deploy', 'web', '--max=3')
        self.assertRegex(self.k('get', 'hpa'), r'web +Deployment/web')

    def test_replace_create_edit_conflict(self):
        self.apply(config_map('a', k='v'))
        old = self.get('cm', 'a')
        self.assertIn('already exists', self.kubectl('create', 'configmap', 'a').stderr)
        self.k('replace', '-f', '-', input=json.dumps({**old, 'data': {'k': 'w'}}))
        stale = self.kubectl('replace', '-f', '-', input=json.dumps({**old, 'data': {'k': 'x'}}))
        self.assertIn('Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again', stale.stderr)
        self.assertEqual('Conflict', self.raw('PUT', CM + '/a', old).json()['reason'])
        wrong_uid = {**config_map('a'), 'metadata': {'name': 'a', 'uid': '00000000-0000-0000-0000-000000000000'}}
        self.assertEqual(409, self.raw('PUT', CM + '/a', wrong_uid).status)
        self.assertEqual(409, self.raw('DELETE', CM + '/a', {'preconditions': {'uid': 'other'}}).status)
        self.assertIn('configmap/a edited', self.node.run('env', 'KUBE_EDITOR=sed -i s/w/edited/', newest_kubectl(), '-n', self.ns, 'edit', 'cm', 'a').stdout)
        self.assertEqual('edited', self.get('cm', 'a')['data']['k'])
        self.assertEqual('', self.k('diff', '-f', '-', input=json.dumps(self.get('cm', 'a'))))
        unchanged = self.get('cm', 'a')['metadata']['resourceVersion']
        self.k('patch', 'cm', 'a', '--type=merge', '-p', '{"data":{"k":"edited"}}')
        self.assertEqual(unchanged, self.get('cm', 'a')['metadata']['resourceVersion'])

    def test_generate_name_dry_run_immutable(self):
        made = self.k('create', '-f', '-', input=json.dumps({**config_map('x'), 'metadata': {'generateName': 'gen-'}}))
        self.assertRegex(made, r'configmap/gen-[a-z0-9]{5} created')
        # A refusal names what was asked for, the same each time.
        lost = {**pod('x', 'true', serviceAccountName='nobody'), 'metadata': {'generateName': 'gen-'}}
        self.assertIn(f'pods "gen-" is forbidden: error looking up service account {self.ns}/nobody: serviceaccount "nobody" not found',
                      self.kubectl('create', '-f', '-', input=json.dumps(lost)).stderr)
        self.assertIn('created (server dry run)', self.k('create', 'configmap', 'dry', '--dry-run=server'))
        self.assertIn('NotFound', self.kubectl('get', 'cm', 'dry').stderr)
        self.apply(config_map('keep'))
        self.assertIn('(server dry run)', self.k('delete', 'cm', 'keep', '--dry-run=server'))
        self.get('cm', 'keep')
        self.assertIn('priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: this is a system priority class and cannot be deleted',
                      self.kubectl('delete', 'priorityclass', 'system-node-critical').stderr)
        self.apply({**config_map('fixed', a='b'), 'immutable': True})
        self.assertIn('field is immutable when `immutable` is set', self.kubectl('patch', 'cm', 'fixed', '-p', '{"data":{"a":"c"}}').stderr)

    @needs_kubectl(25)
    def test_field_validation(self):
        typo = '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicsa":3,"selector":{"matchLabels":{"a":"b"}},' \
               '"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","imagee":"x"}]}}}}'
        strict = self.kubectl('apply', '--validate=strict', '-f', '-', input=typo)
        self.assertIn('strict decoding error', strict.stderr)
        self.assertIn('unknown field "spec.replicsa"', strict.stderr)
        self.assertIn('unknown field "spec.template.spec.containers[0].imagee"', strict.stderr)
        warned = self.kubectl('apply', '--validate=warn', '-f', '-', input=typo)
        self.assertEqual(0, warned.returncode, warned.stderr)
        self.assertIn('Warning: unknown field "spec.replicsa"', warned.stderr)
        twice = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"},"data":{"a":"1","a":"2"}}'
        answer = self.raw('POST', CM + '?fieldValidation=Strict', twice)
        self.assertEqual(400, answer.status)
        self.assertIn('duplicate field "data.a"', answer.json()['message'])
        self.assertIn('duplicate field', self.raw('POST', CM, twice).headers.get('warning', ''))

    def test_validation_messages(self):
        bad = deployment('Bad_Name', image='i')
        bad['spec']['selector'] = {'matchLabels': {'app': 'other'}}
        answer = self.raw('POST', f'/apis/apps/v1/namespaces/{self.ns}/deployments', bad)
        self.assertEqual((422, 'Invalid'), (answer.status, answer.json()['reason']))
        self.assertIn('Deployment.apps "Bad_Name" is invalid', answer.json()['message'])
        fields = {c['field'] for c in answer.json()['details']['causes']}
        self.assertIn('metadata.name', fields)
        self.assertTrue(any('selector' in f or 'labels' in f for f in fields), fields)
        missing = self.raw('POST', '/api/v1/namespaces/{ns}/pods', {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'p'}, 'spec': {'containers': [{'name': 'c'}]}})
        self.assertIn('spec.containers[0].image: Required value', missing.json()['message'])

    # Reads -----------------------------------------------------------------------------------------------------------

    def test_selectors_and_chunks(self):
        for i in range(7):
            cm = config_map(f'c{i}', n=str(i))
            cm['metadata']['labels'] = {'parity': 'even' if i % 2 == 0 else 'odd', **({'low': ''} if i < 3 else {})}
            self.raw('POST', CM, cm)
        names = lambda *args: self.k('get', 'cm', '-o', 'name', *args).replace('configmap/', '').split()
        self.assertEqual(['c0', 'c2', 'c4', 'c6'], names('-l', 'parity=even'))
        self.assertEqual(['c1', 'c3', 'c5'], names('-l', 'parity in (odd,none)'))
        self.assertEqual(['c4', 'c6'], names('-l', 'parity!=odd,!low,parity'))
        self.assertEqual(['c3'], names('--field-selector', 'metadata.name=c3'))
        self.assertIn('kube-root-ca.crt', names('--chunk-size=2'))
        self.assertEqual(8, len(names('--chunk-size=2')))
        first = self.raw('GET', CM + '?limit=3&labelSelector=parity').json()
        self.assertEqual((3, 4), (len(first['items']), first['metadata'].get('remainingItemCount', 4)))
        self.raw('DELETE', CM + '/c5')
        rest = self.raw('GET', CM + '?limit=30&labelSelector=parity&continue=' + first['metadata']['continue']).json()
        self.assertEqual(['c3', 'c4', 'c5', 'c6'], [o['metadata']['name'] for o in rest['items']])
        self.assertEqual(first['metadata']['resourceVersion'], rest['metadata']['resourceVersion'])
        self.assertEqual(400, self.raw('GET', CM + '?labelSelector=a=b=c').status)
        self.assertEqual(400, self.raw('GET', CM + '?fieldSelector=data.x=1').status)
        self.assertEqual(400, self.raw('GET', CM + '?continue=nonsense').status)
        self.assertIn('No resources', self.kubectl('get', 'pods', '--field-selector=spec.nodeName=none').stderr)
        self.k('delete', 'cm', '-l', 'parity')
        self.assertEqual(['kube-root-ca.crt'], names())
        answer = self.raw('DELETE', CM)
        self.assertEqual(200, answer.status)

    def watch(self, query, until, seconds=10):
        """Events of a raw watch until until(events); the events."""
        self.node.credentials()
        process = self.node.popen('curl', '-sN', '--cacert', self.node.dir / 'ca.crt', '--cert', self.node.dir / 'admin.crt', '--key', self.node.dir / 'admin.key',
                                  '--max-time', str(seconds), f'https://127.0.0.1:6443{CM.format(ns=self.ns)}?watch=1&{query}', stdout=subprocess.PIPE)
        events = []
        try:
            for line in process.stdout:
                events.append(json.loads(line))
                if until(events):
                    return events
            raise AssertionError(f'the watch ended with {events}')
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    @needs_kubectl(31)
    def test_watch(self):
        self.apply(config_map('w', n='0'))
        version = self.raw('GET', CM).json()['metadata']['resourceVersion']
        self.k('patch', 'cm', 'w', '-p', '{"data":{"n":"1"}}')
        self.k('delete', 'cm', 'w')
        events = self.watch('resourceVersion=' + version, lambda e: e[-1]['type'] == 'DELETED')
        self.assertEqual([('MODIFIED', '1'), ('DELETED', '1')], [(e['type'], e['object']['data']['n']) for e in events])
        self.apply(config_map('x', n='0'))
        events = self.watch('sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan', lambda e: e[-1]['type'] == 'BOOKMARK')
        self.assertIn('x', [e['object']['metadata']['name'] for e in events[:-1]])
        self.assertEqual('true', events[-1]['object']['metadata']['annotations']['k8s.io/initial-events-end'])
        self.assertEqual(504, self.raw('GET', CM + '?resourceVersion=99999999').status)
        watching = self.node.popen(self.node.kubectl_binary, '-n', self.ns, 'get', 'cm', '-w', '-o', 'name', stdout=subprocess.PIPE, text=True)
        self.assertIn('configmap/', watching.stdout.readline())
        self.apply(config_map('seen'))
        self.assertTrue(any('seen' in watching.stdout.readline() for _ in range(3)))
        watching.kill()
        watching.wait()
        watching.stdout.close()
        self.k('wait', '--for=jsonpath={.data}', 'cm/x', '--timeout=5s')
        self.assertIn('timed out', self.kubectl('wait', '--for=delete', 'cm/x', '--timeout=1s').stderr)

    # Bad input -------------------------------------------------------------------------------------------------------

    def test_bad_input(self):
        for body, kind, status in (('{"kind": ', 'application/json', 400), ('a: [b', 'application/yaml', 400), ('\xff\xfe', 'application/json', 400),
                                   ('[' * 100_000 + ']' * 100_000, 'application/json', 400), ('a: ' + '[' * 20_000 + ']' * 20_000, 'application/yaml', 400),
                                   ('a: &a [x,x,x,x,x,x,x,x,x]\n' + ''.join(f'{chr(98 + i)}: &{chr(98 + i)} [{",".join(["*" + chr(97 + i)] * 9)}]\n' for i in range(9)), 'application/yaml', 400),
                                   ('{}', 'application/x-nonsense', 415), ('', 'application/json', 400), ('null', 'application/json', 400),
                                   ('{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}', 'application/json', 400),
                                   ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":1}}', 'application/json', 400),
                                   ('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"other"}}', 'application/json', 400)):
            answer = self.raw('POST', CM, body.encode('latin-1') if '\xff' in body else body, kind)
            self.assertEqual(status, answer.status, f'{body[:60]!r}: {answer}')
            self.assertEqual('Failure', answer.json()['status'], answer)
        big = self.raw('POST', CM, config_map('big', a='x' * 4_000_000))
        self.assertEqual(413, big.status, big)
        full = self.raw('POST', CM, config_map('full', a='x' * 1_100_000))
        self.assertEqual(422, full.status, full)
        self.assertEqual('ok', self.raw('GET', '/livez').text)

    def test_a_slow_client_is_cut_and_holds_up_nobody(self):
        """Heads that never end (slow loris): each connection ends in time, and others are served meanwhile."""
        script = ('import socket, ssl, sys, time\n'
                  'context = ssl._create_unverified_context()\n'
                  'slow = [context.wrap_socket(socket.create_connection(("127.0.0.1", 6443))) for _ in range(50)]\n'
                  'for s in slow: s.sendall(b"GET /livez HTTP/1.1\\r\\nHost: x\\r\\n")\n'
                  'print("open", flush=True)\n'
                  'end = time.monotonic() + 30\n'
                  'while slow and time.monotonic() < end:\n'
                  '    for s in list(slow):\n'
                  '        try:\n'
                  '            s.sendall(b"X: y\\r\\n")\n'
                  '            s.settimeout(0.01)\n'
                  '            if s.recv(1000) == b"": slow.remove(s)\n'
                  '        except TimeoutError: pass\n'
                  '        except OSError: slow.remove(s)\n'
                  'print("left", len(slow))\n')
        loris = self.node.popen(sys.executable, '-c', script, stdout=subprocess.PIPE, text=True)
        self.assertEqual('open\n', loris.stdout.readline())
        for _ in range(5):
            self.assertEqual('ok', self.raw('GET', '/livez', timeout=2).text)
        self.assertEqual('left 0\n', loris.communicate(timeout=60)[0])

    def test_watch_from_a_revision_that_is_gone(self):
        """410 in the stream, as client libraries expect it before they list again."""
        first = self.apply(config_map('a', k='0')) and self.get('cm', 'a')['metadata']['resourceVersion']
        watched = self.raw('GET', f'{CM}?watch=1&resourceVersion={first}&timeoutSeconds=1')
        self.assertEqual(200, watched.status, watched)
        self.assertNotIn('ERROR', watched.text)
        for round in range(20):  # more than the 16 MiB of events that are kept for watchers
            put = self.raw('PUT', f'{CM}/a', config_map('a', k=str(round % 10) * 1_000_000))
            self.assertEqual(200, put.status, put)
        gone = self.raw('GET', f'{CM}?watch=1&resourceVersion={first}&timeoutSeconds=1')
        event = json.loads(gone.text.splitlines()[0]) if gone.status == 200 else {'type': 'ERROR', 'object': gone.json()}
        self.assertEqual('ERROR', event['type'], gone)
        self.assertEqual((410, 'Expired'), (event['object']['code'], event['object']['reason']), gone)

    def test_wrong_paths_and_methods(self):
        self.assertEqual(404, self.raw('GET', '/api/v1/namespaces/{ns}/nonsense').status)
        self.assertEqual(404, self.raw('GET', '/apis/nonsense/v1').status)
        self.assertEqual(404, self.raw('POST', '/api/v1/namespaces/not-there/configmaps', config_map('a')).status)
        self.assertEqual(405, self.raw('PUT', CM, {}).status)
        self.assertIn("the server doesn't have a resource type", self.kubectl('get', 'nonsense').stderr)
        answer = self.raw('GET', CM + '/absent').json()
        self.assertEqual(('NotFound', 'configmaps "absent" not found', 404), (answer['reason'], answer['message'], answer['code']))
        self.assertEqual({'name': 'absent', 'kind': 'configmaps'}, answer['details'])

    # Access ----------------------------------------------------------------------------------------------------------

    @needs_kubectl(28)
    def test_access(self):
        self.assertEqual('yes\n', self.k('auth', 'can-i', '*', '*'))
        who = f'system:serviceaccount:{self.ns}:robot'
        self.k('create', 'serviceaccount', 'robot')
        denied = self.kubectl('get', 'pods', '--as', who)
        self.assertIn(f'Error from server (Forbidden): pods is forbidden: User "{who}" cannot list resource "pods" in API group "" in the namespace "{self.ns}"', denied.stderr)
        self.assertEqual('no\n', self.kubectl('auth', 'can-i', 'list', 'pods', '--as', who).stdout)
        self.k('create', 'role', 'reader', '--verb=get,list', '--resource=pods')
        self.k('create', 'rolebinding', 'robot', '--role=reader', f'--serviceaccount={self.ns}:robot')
        wait_for(lambda: self.kubectl('auth', 'can-i', 'list', 'pods', '--as', who).stdout == 'yes\n', 5)
        self.assertRegex(self.k('auth', 'can-i', '--list', '--as', who), r'pods +\[\] +\[\] +\[get list\]')
        self.assertIn(who, self.k('auth', 'whoami', '--as', who))
        token = self.k('create', 'token', 'robot').strip()
        self.assertEqual(200, self.raw('GET', '/api/v1/namespaces/{ns}/pods', token=token).status)
        self.assertEqual(403, self.raw('DELETE', '/api/v1/namespaces/{ns}/pods/x', token=token).status)
        self.assertEqual(403, self.raw('GET', '/api/v1/namespaces/default/pods', token=token).status)
        self.assertEqual(401, self.raw('GET', '/api/v1/pods', token=token[:-6] + 'AAAAAA').status)
        self.assertEqual(401, self.raw('GET', '/api/v1/pods', token='nonsense').status)
        anonymous = self.raw('GET', '/api/v1/pods', token='')
        self.assertIn(anonymous.status, (401, 403))
        self.assertEqual(200, self.raw('GET', '/livez', token='').status)
        self.assertEqual(200, self.raw('GET', '/version', token='').status)
        escalation = self.kubectl('create', 'role', 'more', '--verb=*', '--resource=secrets', '--as', who)
        self.assertIn('Forbidden', escalation.stderr)
        self.k('delete', 'serviceaccount', 'robot')
        wait_for(lambda: self.raw('GET', '/api/v1/namespaces/{ns}/pods', token=token).status == 401, 10)

    def test_quotas_and_limits(self):
        self.apply({'apiVersion': 'v1', 'kind': 'LimitRange', 'metadata': {'name': 'l'}, 'spec': {'limits': [
            {'type': 'Container', 'default': {'cpu': '200m'}, 'defaultRequest': {'cpu': '100m'}, 'max': {'cpu': '1'}}]}})
        self.raw('POST', '/api/v1/namespaces/{ns}/pods', pod('p', 'true', nodeSelector={'none': 'x'}))
        self.assertEqual({'limits': {'cpu': '200m'}, 'requests': {'cpu': '100m'}}, self.peek('pods', 'p')['spec']['containers'][0]['resources'])
        over = self.raw('POST', '/api/v1/namespaces/{ns}/pods', pod('q', 'true', resources={'limits': {'cpu': '2'}}))
        self.assertEqual(403, over.status)
        self.assertIn('maximum cpu usage per Container is 1, but limit is 2', over.json()['message'])

    def test_eviction_and_budget(self):
        self.raw('POST', '/api/v1/namespaces/{ns}/pods', pod('p', 'true', nodeSelector={'none': 'x'}))
        answer = self.raw('POST', '/api/v1/namespaces/{ns}/pods/p/eviction', {'apiVersion': 'policy/v1', 'kind': 'Eviction', 'metadata': {'name': 'p'}})
        self.assertEqual(201, answer.status, answer)
        self.wait_gone('pods', 'p')

    @needs_kubectl(26)
    def test_events_view(self):
        self.raw('POST', '/api/v1/namespaces/{ns}/pods', pod('p', 'true', nodeSelector={'none': 'x'}))
        self.wait_event('p', 'FailedScheduling')
        self.assertRegex(self.k('get', 'events'), r'Warning +FailedScheduling +pod/p ')
        self.assertRegex(self.k('events'), r'FailedScheduling +Pod/p ')
        self.assertIn('FailedScheduling', self.k('describe', 'pod', 'p'))


class OldKubectl(NodeTest):
    """The kubectl 1.20 that Debian 12 packages: OpenAPI v2 in protobuf, and exec over SPDY."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix='kubectl-1.20-')
        cls.addClassCleanup(cls.scratch.cleanup)
        got = subprocess.run(['apt-get', 'download', 'kubernetes-client'], cwd=cls.scratch.name, capture_output=True, text=True)
        packages = list(Path(cls.scratch.name).glob('*.deb'))
        if got.returncode != 0 or not packages:
            raise unittest.SkipTest('the package kubernetes-client cannot be downloaded: ' + (got.stderr.strip().splitlines() or ['no file'])[-1])
        subprocess.run(['dpkg', '-x', packages[0], cls.scratch.name], check=True)
        binary = Path(cls.scratch.name, 'usr/bin/kubectl')
        if not binary.exists():
            raise unittest.SkipTest('this Debian has no old kubectl: its package kubernetes-client only names another')
        super().setUpClass()
        cls.node.kubectl_binary = str(binary)

    def test_session(self):
        self.apply(deployment('web', 'echo started; mkdir -p /www; echo old > /www/index.html; httpd -f -p 80 -h /www', replicas=2), service('web', {'app': 'web'}, {'port': 80}))
        self.rollout('deploy/web')
        self.assertEqual(2, self.apply(deployment('web', 'echo started; mkdir -p /www; echo old > /www/index.html; httpd -f -p 80 -h /www', replicas=2),
                                       service('web', {'app': 'web'}, {'port': 80})).count('unchanged'))
        self.assertRegex(self.k('get', 'pods', '-o', 'wide'), r'web-\S+ +1/1 +Running')
        self.assertIn('livenessProbe', self.k('explain', 'pod.spec.containers'))
        self.assertIn('deployments', self.k('api-resources'))
        self.assertEqual('started\n', self.k('logs', 'deploy/web'))
        result = self.kubectl('exec', 'deploy/web', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3')
        self.assertEqual((3, 'out\n'), (result.returncode, result.stdout))
        self.assertIn('err', result.stderr)
        self.assertEqual('in\n', self.k('exec', '-i', 'deploy/web', '--', 'cat', input='in\n'))
        self.k('set', 'image', 'deploy/web', 'main=localhost/hello:1.1')
        self.rollout('deploy/web')
        self.k('rollout', 'undo', 'deploy/web')
        self.rollout('deploy/web')
        self.k('scale', 'deploy/web', '--replicas=3')
        self.rollout('deploy/web')
        self.assertIn('3 desired', self.k('describe', 'deploy', 'web'))
        self.k('expose', 'deploy', 'web', '--name=np', '--port=80', '--type=NodePort')
        forward = self.node.popen(self.node.kubectl_binary, '-n', self.ns, 'port-forward', 'deploy/web', '18081:80', stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(forward.wait)
        self.addCleanup(forward.kill)
        self.wait(lambda: self.node.run('curl', '-s', 'http://127.0.0.1:18081/', check=False).stdout == 'old\n', 10)
        unknown = self.kubectl('apply', '-f', '-', input='{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containerz":[]}}')
        self.assertIn('unknown field "containerz"', unknown.stderr)
        self.k('delete', 'deploy,svc', '--all')

    def test_terminal(self):
        self.apply(pod('box', 'sleep 1000'))
        self.wait_running('box')
        process, fd = terminal(self, 'exec', '-it', 'box', '--', 'sh')
        read_until(fd, '#')
        os.write(fd, b'stty size; echo done-$((40+2)); exit 5\n')
        self.assertIn('33 101', read_until(fd, 'done-42'))
        self.assertEqual(5, process.wait(10))


class CommandLine(unittest.TestCase):
    """What `brume` says when it cannot do what it was asked."""

    @classmethod
    def setUpClass(cls):
        cls.node = Node('brume-cli')
        cls.addClassCleanup(cls.node.destroy)

    def brume(self, *args, **kwargs):
        return self.node.run(BRUME, *args, check=False, timeout=15, **kwargs)

    def server(self, *flags, data='data'):
        directory = self.node.dir
        return self.brume('server', '--data-dir', directory / data, '--state-dir', directory / (data + '-run'), '--log-dir', directory / (data + '-log'),
                          '--write-kubeconfig', directory / (data + '.yaml'), '--config', '/dev/null', *flags)

    def refused(self, result, *texts):
        self.assertNotEqual(0, result.returncode)
        for text in texts:
            self.assertIn(text, result.stderr)
        self.assertEqual(1, len(result.stderr.strip().splitlines()), result.stderr)

    def test_bad_flags(self):
        self.refused(self.server('--no-such-flag'), '--no-such-flag')
        self.refused(self.server('--cluster-cidr', '10.42.0.0/99'), '--cluster-cidr', '10.42.0.0/99')
        self.refused(self.server('--service-cidr', 'nonsense'), '--service-cidr')
        self.refused(self.server('--cluster-cidr', '10.0.0.0/8', '--service-cidr', '10.43.0.0/16'), 'overlap')
        self.refused(self.server('--https-listen-port', '99999'), '--https-listen-port')
        self.refused(self.server('--https-listen-port'), 'takes a value')
        self.refused(self.server('--log-level', 'loud'), '--log-level')
        self.refused(self.brume('nonsense'), 'nonsense')
        bad = self.node.dir / 'bad.yaml'
        bad.write_text('no-such-key: 1\n')
        self.refused(self.brume('server', '--config', bad), 'no-such-key')
        self.refused(self.brume('server', '--config', '/no/such/file'), '/no/such/file')

    def test_help_version_check(self):
        self.assertIn('server', self.brume('--help').stdout)
        helped = self.brume('server', '--help').stdout
        for flag in ('--data-dir', '--config', '--bind-address', '--https-listen-port', '--advertise-address', '--node-name', '--node-ip', '--tls-san',
                     '--write-kubeconfig', '--write-kubeconfig-mode', '--cluster-cidr', '--service-cidr', '--service-node-port-range', '--cluster-domain',
                     '--disable', '--token', '--log-level', '--log-format', '--stop-pods'):
            self.assertIn(flag, helped)
        self.assertRegex(self.brume('version').stdout, r'\d+\.\d+')
        self.assertGreater(len(self.brume('check').stdout.splitlines()), 5)

    def test_taken_port_and_data_dir_in_use(self):
        self.node.start()
        self.refused(self.server(data='other'), '--https-listen-port 6443')
        self.refused(self.server('--https-listen-port', '7443'), str(self.node.dir / 'data'))
        self.assertEqual(0, self.node.stop())

    def test_config_file_and_kubeconfig(self):
        config = self.node.dir / 'config.yaml'
        config.write_text('https-listen-port: 7777\nnode-name: from-file\ndisable: [dns]\ntls-san: [a.example, 10.9.9.9]\nwrite-kubeconfig-mode: "0640"\n')
        node = Node('brume-conf', ['--config', config])
        self.addCleanup(node.destroy)
        node.start()
        wait_for(node.node_ready, 20)
        self.assertEqual('from-file', node.get('nodes')['items'][0]['metadata']['name'])
        self.assertIn(':7777', node.kubeconfig.read_text())
        self.assertEqual(0o640, node.kubeconfig.stat().st_mode & 0o777)
        self.assertIn('a.example', node.run('sh', '-c', 'curl -svk --resolve a.example:7777:127.0.0.1 --cacert /dev/null https://a.example:7777/livez 2>&1 || true').stdout)
        self.assertEqual([], node.get('pods', '-n', 'kube-system')['items'])


if __name__ == '__main__':
    unittest.main()
