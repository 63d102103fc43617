"""StatefulSets, driven by kubectl as a person would."""
import json
import signal
import unittest

from harness import IMAGE_NEXT, NodeTest, deployment, is_ready, needs_dns, service, wait_for

APPS = 'apis/apps/v1'


def stateful_set(name, *command, replicas=1, spec=None, **pod_spec):
    """A StatefulSet "name" behind a headless service of the same name, with pods as deployment() makes them."""
    made = deployment(name, *command, replicas=replicas, **pod_spec)
    made['kind'] = 'StatefulSet'
    made['spec'].update({'serviceName': name, **(spec or {})})
    return made


class StatefulSets(NodeTest):
    def living(self, name='web'):
        return [p for p in self.node.pods('app=' + name, self.ns) if 'deletionTimestamp' not in p['metadata']]

    def names(self, name='web'):
        return [p['metadata']['name'] for p in self.living(name)]

    def versions(self):
        return {name: self.sh(name, 'echo $HELLO_VERSION').strip() for name in self.names()}

    def settled(self, name='web', seconds=60):
        self.k('rollout', 'status', 'sts/' + name, f'--timeout={seconds}s')

    @needs_dns
    def test_identity(self):
        self.apply(service('web', {'app': 'web'}, {'port': 80}, clusterIP='None'),
                   stateful_set('web', 'hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp', replicas=2,
                                readinessProbe={'tcpSocket': {'port': 80}, 'periodSeconds': 1}))
        self.settled()
        self.assertEqual(['web-0', 'web-1'], self.names())
        self.assertRegex(self.k('get', 'sts', 'web'), r'NAME +READY +AGE\nweb +2/2 ')
        self.assertRegex(self.k('get', 'sts', 'web', '-o', 'wide'), r'READY +AGE +CONTAINERS +IMAGES\nweb +2/2 .*main +localhost/hello:1.0')
        for name in self.names():
            self.assertEqual(name + '\n', self.sh(name, 'hostname'))
            self.assertEqual(name + '\n', self.sh('web-0', f'wget -qO- http://{name}.web.{self.ns}.svc.cluster.local/'))
        labels = self.peek('pods', 'web-1')['metadata']['labels']
        self.assertEqual(('web-1', '1'), (labels['statefulset.kubernetes.io/pod-name'], labels['apps.kubernetes.io/pod-index']))
        described = self.k('describe', 'sts', 'web')
        self.assertIn('Create Pod web-1 in StatefulSet web successful', described)
        self.assertRegex(described, r'Replicas: +2 desired \| 2 total')
        # A pod keeps its name through its death, and its name leads to its new address.
        first = self.peek('pods', 'web-1')
        self.k('delete', 'pod', 'web-1')
        again = self.wait_pod('web-1', lambda p: p['metadata']['uid'] != first['metadata']['uid'] and is_ready(p))
        self.assertNotEqual(first['metadata']['uid'], again['metadata']['uid'])
        wait_for(lambda: self.sh('web-0', f'wget -qO- http://web-1.web.{self.ns}.svc.cluster.local/', check=False) == 'web-1\n', 20, 0.5)

    def test_order_and_scale(self):
        self.apply(stateful_set('web', 'until test -e /tmp/go; do sleep 0.05; done; sleep 100000', replicas=3,
                                readinessProbe={'exec': {'command': ['test', '-e', '/tmp/go']}, 'periodSeconds': 1}))
        for name in ('web-0', 'web-1', 'web-2'):
            self.wait_pod(name, lambda p: p['status'].get('phase') == 'Running')
            self.assertEqual(name, self.names()[-1])
            self.sh(name, 'touch /tmp/go')
        self.settled()
        self.k('scale', 'sts', 'web', '--replicas=1')
        wait_for(lambda: self.names() == ['web-0'], 20)
        scale = self.node.api('GET', f'/{APPS}/namespaces/{self.ns}/statefulsets/web/scale').json()
        self.assertEqual((1, 'app=web'), (scale['spec']['replicas'], scale['status']['selector']))
        wait_for(lambda: self.peek('statefulsets', 'web', APPS)['status']['replicas'] == 1, 20)
        wrong = self.kubectl('scale', 'sts/web', '--current-replicas=7', '--replicas=1')
        self.assertIn('Expected replicas to be 7, was 1', wrong.stderr)

    def test_parallel_and_ordinals(self):
        self.apply(stateful_set('web', replicas=3, spec={'podManagementPolicy': 'Parallel', 'ordinals': {'start': 5}}))
        self.settled()
        self.assertEqual(['web-5', 'web-6', 'web-7'], self.names())

    def test_update_history_and_undo(self):
        self.apply(stateful_set('web', replicas=2))
        self.settled()
        self.k('annotate', 'sts', 'web', 'kubernetes.io/change-cause=first')
        self.k('set', 'image', 'sts/web', 'main=' + IMAGE_NEXT)
        self.settled()
        self.assertEqual({'web-0': '1.1', 'web-1': '1.1'}, self.versions())
        history = self.k('rollout', 'history', 'sts/web')
        self.assertRegex(history, r'REVISION +CHANGE-CAUSE\n1 .*\n2 ')
        self.assertIn(IMAGE_NEXT, self.k('rollout', 'history', 'sts/web', '--revision=2'))
        revisions = self.k('get', 'controllerrevisions')
        self.assertRegex(revisions, r'NAME +CONTROLLER +REVISION +AGE\nweb-\S+ +statefulset.apps/web +[12] ')
        self.k('rollout', 'undo', 'sts/web')
        self.settled()
        self.assertEqual({'web-0': '1.0', 'web-1': '1.0'}, self.versions())
        self.assertRegex(self.k('rollout', 'history', 'sts/web'), r'CHANGE-CAUSE\n2 .*\n3 ')
        status = self.peek('statefulsets', 'web', APPS)['status']
        self.assertEqual(status['currentRevision'], status['updateRevision'])
        self.k('rollout', 'restart', 'sts/web')
        self.settled()
        self.assertRegex(self.k('rollout', 'history', 'sts/web'), r'CHANGE-CAUSE\n2 .*\n3 .*\n4 ')

    def test_partition_and_on_delete(self):
        self.apply(stateful_set('web', replicas=2, spec={'updateStrategy': {'type': 'RollingUpdate', 'rollingUpdate': {'partition': 1}}}))
        self.settled()
        self.k('set', 'image', 'sts/web', 'main=' + IMAGE_NEXT)
        self.assertIn('partitioned roll out complete', self.k('rollout', 'status', 'sts/web', '--timeout=60s'))
        self.assertEqual({'web-0': '1.0', 'web-1': '1.1'}, self.versions())
        self.k('patch', 'sts', 'web', '--type=merge', '-p', json.dumps({'spec': {'updateStrategy': {'type': 'OnDelete', 'rollingUpdate': None}}}))
        uid = self.peek('pods', 'web-0')['metadata']['uid']
        self.k('delete', 'pod', 'web-0')
        self.wait_pod('web-0', lambda p: p['metadata']['uid'] != uid and is_ready(p))
        self.assertEqual({'web-0': '1.1', 'web-1': '1.1'}, self.versions())

    def test_failed_pod_comes_back_and_an_orphan_is_adopted(self):
        self.apply(stateful_set('web', replicas=1))
        self.settled()
        uid = self.peek('pods', 'web-0')['metadata']['uid']
        self.k('delete', 'sts', 'web', '--cascade=orphan')
        wait_for(lambda: not self.peek('pods', 'web-0')['metadata'].get('ownerReferences'), 10)
        self.apply(stateful_set('web', replicas=1))
        wait_for(lambda: self.peek('pods', 'web-0')['metadata'].get('ownerReferences'), 10)
        self.assertEqual(uid, self.peek('pods', 'web-0')['metadata']['uid'])
        self.assertEqual(1, len(self.get('controllerrevisions')['items']))
        self.node.api('PATCH', f'/api/v1/namespaces/{self.ns}/pods/web-0/status', {'status': {'phase': 'Failed'}},
                      content_type='application/merge-patch+json')
        self.wait_pod('web-0', lambda p: p['metadata']['uid'] != uid and is_ready(p))
        self.k('delete', 'sts', 'web')
        wait_for(lambda: not self.names() and not self.get('controllerrevisions')['items'], 20)

    def test_what_may_not_change(self):
        self.apply(stateful_set('web'))
        refused = self.kubectl('patch', 'sts', 'web', '--type=merge', '-p', '{"spec":{"serviceName":"other"}}')
        self.assertIn("updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template'", refused.stderr)
        revision = wait_for(lambda: self.get('controllerrevisions')['items'], 10)[0]['metadata']['name']
        refused = self.kubectl('patch', 'controllerrevision', revision, '--type=merge', '-p', '{"data":{"spec":null}}')
        self.assertIn('field is immutable', refused.stderr)

    def test_an_update_goes_on_after_the_server_was_killed(self):
        self.apply(stateful_set('web', replicas=3), stateful_set('wide', replicas=3, spec={'podManagementPolicy': 'Parallel'}))
        self.settled()
        self.settled('wide')
        before = {p['metadata']['name']: p['metadata']['uid'] for p in self.living('web')}
        self.k('set', 'image', 'sts/web', 'main=' + IMAGE_NEXT)
        self.k('scale', 'sts/wide', '--replicas=6')
        wait_for(lambda: {p['metadata']['name']: p['metadata']['uid'] for p in self.living('web')} != before, 20, 0.01)
        self.node.stop(signal.SIGKILL)
        self.node.start()
        self.settled()
        self.settled('wide')
        self.assertEqual({'web-0': '1.1', 'web-1': '1.1', 'web-2': '1.1'}, self.versions())
        self.assertEqual([f'wide-{i}' for i in range(6)], self.names('wide'))
        self.assertEqual(2, len([r for r in self.get('controllerrevisions')['items'] if r['metadata']['labels']['app'] == 'web']))


if __name__ == '__main__':
    unittest.main()
