"""Deployments and ReplicaSets, driven by kubectl as a person would."""
import re
import unittest

from harness import IMAGE, IMAGE_NEXT, NodeTest, ROOT, config_map, deployment, needs_dns, service, wait_for

APPS = 'apis/apps/v1'


class Session(NodeTest):
    """The session that the README promises."""

    @needs_dns
    def test_hello(self):
        self.k('apply', '-f', ROOT / 'manifests/examples/hello.yaml')
        self.assertIn('successfully rolled out', self.rollout('deploy/hello'))
        again = self.k('apply', '-f', ROOT / 'manifests/examples/hello.yaml')
        self.assertEqual(3, again.count('unchanged'), again)

        nodes = self.k('get', 'nodes')
        self.assertRegex(nodes, r'NAME +STATUS +ROLES +AGE +VERSION\n\S+ +Ready +control-plane +\S+ +v1\.36')
        wide = self.k('get', 'pods', '-A', '-o', 'wide')
        self.assertRegex(wide, r'NAMESPACE +NAME +READY +STATUS +RESTARTS +AGE +IP +NODE')
        self.assertEqual(3, len(re.findall(r'hello-\S+-\S+ +1/1 +Running +0 ', wide)), wide)
        verbose = self.kubectl('get', 'pods', '-v=9')
        self.assertEqual(0, verbose.returncode)
        self.assertIn('200 OK', verbose.stderr)

        described = self.k('describe', 'deploy', 'hello')
        self.assertIn('3 desired | 3 updated | 3 total | 3 available | 0 unavailable', described)
        self.assertIn('Scaled up replica set', described)
        self.assertIn('httpd', self.k('describe', 'pods'))

        self.k('scale', 'deploy', 'hello', '--replicas', '10')
        self.rollout('deploy/hello')
        self.assertRegex(self.k('get', 'deploy', 'hello'), r'hello +10/10 +10 +10 ')
        self.k('expose', 'deploy', 'hello', '--port', '80', '--type', 'NodePort')
        self.assertRegex(self.k('get', 'endpointslices'), r'hello-\S+ +IPv4 +80 +10\.42\.')

        address = self.get('service', 'hello-web')['spec']['clusterIP']
        node_port = self.get('service', 'hello')['spec']['ports'][0]['nodePort']
        ip = self.get('nodes')['items'][0]['status']['addresses'][0]['address']
        for url in (f'http://{address}/', f'http://{ip}:{node_port}/'):
            got = wait_for(lambda url=url: self.node.run('curl', '-sS', '--max-time', '5', url).stdout, 10, message=url)
            self.assertEqual('hello from brume\n', got)
        for name in ('hello', f'hello-web.{self.ns}', f'hello.{self.ns}.svc.cluster.local'):
            self.assertEqual('hello from brume\n', self.sh('deploy/hello', f'wget -qO- http://{name}/'))
        self.assertIn('response:200', self.k('logs', 'deploy/hello', '--tail=1000') + self.k('logs', '-l', 'app=hello', '--tail=1000'))

        self.k('set', 'image', 'deploy/hello', 'web=' + IMAGE_NEXT)
        self.rollout('deploy/hello')
        self.assertEqual('1.1\n', self.sh('deploy/hello', 'echo $HELLO_VERSION'))
        history = self.k('rollout', 'history', 'deploy', 'hello')
        self.assertRegex(history, r'REVISION +CHANGE-CAUSE\n1 +<none>\n2 +<none>')
        self.assertIn(IMAGE_NEXT, self.k('rollout', 'history', 'deploy', 'hello', '--revision=2'))
        self.k('rollout', 'undo', 'deploy', 'hello')
        self.rollout('deploy/hello')
        self.assertEqual('1.0\n', self.sh('deploy/hello', 'echo $HELLO_VERSION'))
        self.assertRegex(self.k('rollout', 'history', 'deploy', 'hello'), r'\n2 +<none>\n3 +<none>')

        deleted = self.k('delete', '-f', ROOT / 'manifests/examples/hello.yaml', timeout=60)
        self.assertEqual(3, deleted.count('deleted'), deleted)
        wait_for(lambda: not self.node.pods('app=hello', self.ns), 20, message='the pods are gone')


class Deployments(NodeTest):
    def replica_sets(self, name):
        items = self.node.api('GET', f'/{APPS}/namespaces/{self.ns}/replicasets').json()['items']
        return [r for r in items if r['metadata']['ownerReferences'][0]['name'] == name]

    def test_pause_resume_restart(self):
        self.apply(deployment('web', replicas=2))
        self.rollout('deploy/web')
        self.k('rollout', 'pause', 'deploy/web')
        self.k('set', 'image', 'deploy/web', 'main=' + IMAGE_NEXT)
        self.k('set', 'env', 'deploy/web', 'COLOUR=blue')
        self.assertIn('already paused', self.kubectl('rollout', 'pause', 'deploy/web').stderr)
        self.assertEqual(1, len(self.replica_sets('web')))
        self.assertIn('DeploymentPaused', self.k('describe', 'deploy', 'web'))
        self.k('rollout', 'resume', 'deploy/web')
        self.rollout('deploy/web')
        self.assertEqual(2, len(self.replica_sets('web')))
        self.assertEqual('blue 1.1\n', self.sh('deploy/web', 'echo $COLOUR $HELLO_VERSION'))
        before = {p['metadata']['name'] for p in self.node.pods('app=web', self.ns)}
        self.k('rollout', 'restart', 'deploy/web')
        self.rollout('deploy/web')
        after = {p['metadata']['name'] for p in self.node.pods('app=web', self.ns) if 'deletionTimestamp' not in p['metadata']}
        self.assertFalse(before & after)

    def test_rolling_update_keeps_within_its_bounds(self):
        self.apply(deployment('web', replicas=4, spec={'strategy': {'rollingUpdate': {'maxSurge': 1, 'maxUnavailable': 0}}},
                              readinessProbe={'exec': {'command': ['true']}, 'periodSeconds': 1}))
        self.rollout('deploy/web')
        self.k('set', 'image', 'deploy/web', 'main=' + IMAGE_NEXT)
        most, least = 0, 99
        def done():
            nonlocal most, least
            status = self.peek('deployments', 'web', APPS)['status']
            most = max(most, status.get('replicas', 0))
            least = min(least, status.get('availableReplicas', 0))
            return status.get('updatedReplicas') == 4 == status.get('replicas') == status.get('availableReplicas')
        wait_for(done, 40, 0.01)
        self.assertLessEqual(most, 5)
        self.assertGreaterEqual(least, 4)

    def test_recreate(self):
        self.apply(deployment('web', 'trap "sleep 1; exit 0" TERM; while :; do sleep 0.1; done', replicas=2,
                              terminationGracePeriodSeconds=5, spec={'strategy': {'type': 'Recreate'}}))
        self.rollout('deploy/web')
        self.k('set', 'image', 'deploy/web', 'main=' + IMAGE_NEXT)
        def done():
            pods = self.node.api('GET', f'/api/v1/namespaces/{self.ns}/pods').json()['items']
            images = {p['spec']['containers'][0]['image'] for p in pods if p['status'].get('phase') not in ('Succeeded', 'Failed')}
            self.assertLess(len(images), 2, 'old and new pods at once')
            return images == {IMAGE_NEXT} and len(pods) == 2
        wait_for(done, 30, 0.02)
        self.rollout('deploy/web')

    def test_progress_deadline(self):
        self.apply(deployment('stuck', image='localhost/no-such:1', imagePullPolicy='Never', spec={'progressDeadlineSeconds': 2}))
        result = self.kubectl('rollout', 'status', 'deploy/stuck', '--timeout=20s')
        self.assertNotEqual(0, result.returncode)
        self.assertIn('exceeded its progress deadline', result.stderr)
        self.assertRegex(self.k('describe', 'deploy', 'stuck'), r'Progressing +False +ProgressDeadlineExceeded')

    def test_undo_to_a_revision_and_history_limit(self):
        self.apply(deployment('web', spec={'revisionHistoryLimit': 2}))
        self.rollout('deploy/web')
        for value in ('2', '3', '4', '5'):
            self.k('set', 'env', 'deploy/web', 'V=' + value)
            self.rollout('deploy/web')
        wait_for(lambda: len(self.replica_sets('web')) == 3, 10, message='old ReplicaSets are collected')
        self.assertRegex(self.k('rollout', 'history', 'deploy/web'), r'CHANGE-CAUSE\n3 .*\n4 .*\n5 ')
        self.k('rollout', 'undo', 'deploy/web', '--to-revision=3')
        self.rollout('deploy/web')
        self.assertEqual('3\n', self.sh('deploy/web', 'echo $V'))
        self.assertIn('unable to find specified revision 42',
                      self.kubectl('rollout', 'undo', 'deploy/web', '--to-revision=42').stderr)

    def test_a_lost_pod_is_replaced(self):
        self.apply(deployment('web', replicas=2))
        self.rollout('deploy/web')
        names = {p['metadata']['name'] for p in self.node.pods('app=web', self.ns)}
        victim = sorted(names)[0]
        self.k('delete', 'pod', victim)
        pods = self.node.wait_pods_ready('app=web', 2, ns=self.ns)
        self.assertNotIn(victim, {p['metadata']['name'] for p in pods})
        self.assertEqual(1, len(names & {p['metadata']['name'] for p in pods}))

    def test_replica_set_adopts_and_releases(self):
        self.apply(deployment('web', replicas=2))
        self.rollout('deploy/web')
        loose = self.node.pods('app=web', self.ns)[0]['metadata']['name']
        self.k('label', 'pod', loose, 'app=other', '--overwrite')
        self.node.wait_pods_ready('app=web', 2, ns=self.ns)
        wait_for(lambda: not self.peek('pods', loose)['metadata'].get('ownerReferences'), 10, message='the pod is released')
        self.k('label', 'pod', loose, 'app=web', '--overwrite')
        wait_for(lambda: len([p for p in self.node.pods('app=web', self.ns) if 'deletionTimestamp' not in p['metadata']]) == 2, 10,
                 message='one of three goes')

    def test_replication_controller_and_scale_of_a_replica_set(self):
        template = deployment('rc')['spec']['template']
        self.apply({'apiVersion': 'v1', 'kind': 'ReplicationController', 'metadata': {'name': 'rc'},
                    'spec': {'replicas': 1, 'selector': {'app': 'rc'}, 'template': template}},
                   {'apiVersion': 'apps/v1', 'kind': 'ReplicaSet', 'metadata': {'name': 'rs'},
                    'spec': {'replicas': 1, 'selector': {'matchLabels': {'app': 'rs'}},
                             'template': {'metadata': {'labels': {'app': 'rs'}}, 'spec': template['spec']}}})
        self.node.wait_pods_ready('app=rc', 1, ns=self.ns)
        self.k('scale', 'rc/rc', '--replicas=2')
        self.k('scale', 'rs/rs', '--replicas=3')
        self.node.wait_pods_ready('app=rc', 2, ns=self.ns)
        self.node.wait_pods_ready('app=rs', 3, ns=self.ns)
        self.assertRegex(self.k('get', 'rs', 'rs'), r'rs +3 +3 +3 ')
        wrong = self.kubectl('scale', 'rs/rs', '--current-replicas=7', '--replicas=1')
        self.assertIn('Expected replicas to be 7, was 3', wrong.stderr)

    def test_proportional_scaling_and_zero(self):
        self.apply(deployment('web', replicas=3))
        self.rollout('deploy/web')
        self.k('scale', 'deploy/web', '--replicas=0')
        wait_for(lambda: not self.node.pods('app=web', self.ns), 20, message='no pods')
        self.assertRegex(self.k('get', 'deploy', 'web'), r'web +0/0 +0 +0 ')
        self.assertNotIn('availableReplicas', self.peek('deployments', 'web', APPS)['status'])


class Collection(NodeTest):
    """What goes with what when it is deleted."""

    def names(self, plural, group='api/v1'):
        return [o['metadata']['name'] for o in self.node.api('GET', f'/{group}/namespaces/{self.ns}/{plural}').json()['items']]

    def test_background(self):
        self.apply(deployment('web', replicas=2))
        self.rollout('deploy/web')
        self.k('delete', 'deploy', 'web')
        wait_for(lambda: not self.names('replicasets', APPS) and not self.names('pods'), 20, message='dependents are gone')

    def test_foreground(self):
        self.apply(deployment('web', replicas=2))
        self.rollout('deploy/web')
        answer = self.node.api('DELETE', f'/{APPS}/namespaces/{self.ns}/deployments/web', {'propagationPolicy': 'Foreground'})
        self.assertEqual(200, answer.status)
        self.assertEqual(['foregroundDeletion'], answer.json()['metadata']['finalizers'])
        self.wait_gone('deployments', 'web', APPS)
        self.assertEqual(([], []), (self.names('replicasets', APPS), self.names('pods')))

    def test_orphan(self):
        self.apply(deployment('web', replicas=2))
        self.rollout('deploy/web')
        self.k('delete', 'deploy', 'web', '--cascade=orphan')
        sets = self.get('rs')['items']
        self.assertEqual(1, len(sets))
        self.assertFalse(sets[0]['metadata'].get('ownerReferences'))
        self.assertEqual(2, len(self.names('pods')))
        self.apply(deployment('web', replicas=2))
        wait_for(lambda: self.get('rs')['items'][0]['metadata'].get('ownerReferences'), 10, message='the ReplicaSet is adopted again')
        self.assertEqual(1, len(self.names('replicasets', APPS)))

    def test_finalizers(self):
        held = config_map('held', a='b')
        held['metadata']['finalizers'] = ['example.com/hold']
        self.apply(held)
        self.k('delete', 'cm', 'held', '--wait=false')
        first = self.peek('configmaps', 'held')['metadata']
        self.assertIn('deletionTimestamp', first)
        self.k('delete', 'cm', 'held', '--wait=false')
        self.assertEqual(first['deletionTimestamp'], self.peek('configmaps', 'held')['metadata']['deletionTimestamp'])
        more = self.kubectl('patch', 'cm', 'held', '--type=merge', '-p', '{"metadata":{"finalizers":["example.com/hold","example.com/b"]}}')
        self.assertNotEqual(0, more.returncode)
        self.assertIn('Forbidden', more.stderr)
        self.k('patch', 'cm', 'held', '--type=merge', '-p', '{"metadata":{"finalizers":null}}')
        self.wait_gone('configmaps', 'held')

    def test_namespace(self):
        self.make_namespace('doomed')
        here, self.ns = self.ns, 'doomed'
        self.apply(deployment('web', replicas=2), config_map('a', b='c'), service('web', {'app': 'web'}, {'port': 80}))
        self.rollout('deploy/web')
        self.k('delete', 'namespace', 'doomed', '--wait=false')
        refused = self.kubectl('create', 'configmap', 'late')
        self.assertRegex(refused.stderr, r'forbidden: unable to create new content in namespace doomed because it is being terminated|not found')
        wait_for(lambda: self.node.api('GET', '/api/v1/namespaces/doomed').status == 404, 30, message='the namespace is gone')
        self.ns = here
        for plural in ('pods', 'configmaps', 'services', 'events', 'serviceaccounts'):
            left = self.node.api('GET', '/api/v1/' + plural).json()['items']
            self.assertFalse([o for o in left if o['metadata']['namespace'] == 'doomed'], plural)
        protected = self.kubectl('delete', 'namespace', 'kube-system')
        self.assertIn('forbidden', protected.stderr)

    def test_namespace_with_a_finalizer_waits_and_says_why(self):
        self.make_namespace('stuck')
        here, self.ns = self.ns, 'stuck'
        held = config_map('held', a='b')
        held['metadata']['finalizers'] = ['example.com/hold']
        self.apply(held)
        self.k('delete', 'namespace', 'stuck', '--wait=false')
        def says_why():
            conditions = self.node.api('GET', '/api/v1/namespaces/stuck').json()['status'].get('conditions', [])
            return [c for c in conditions if c['type'] == 'NamespaceFinalizersRemaining' and c['status'] == 'True']
        self.assertIn('example.com/hold', wait_for(says_why, 15)[0]['message'])
        self.k('patch', 'cm', 'held', '--type=merge', '-p', '{"metadata":{"finalizers":null}}')
        wait_for(lambda: self.node.api('GET', '/api/v1/namespaces/stuck').status == 404, 30, message='the namespace is gone')
        self.ns = here


if __name__ == '__main__':
    unittest.main()
