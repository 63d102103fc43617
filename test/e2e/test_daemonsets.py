"""DaemonSets, driven by kubectl as a person would."""
import json
import unittest

from harness import IMAGE_NEXT, NodeTest, deployment, is_ready, wait_for

APPS = 'apis/apps/v1'


def daemon_set(name, *command, spec=None, **pod_spec):
    """A DaemonSet with pods as deployment() makes them."""
    made = deployment(name, *command, **pod_spec)
    made['kind'] = 'DaemonSet'
    del made['spec']['replicas']
    made['spec'].update(spec or {})
    return made


class DaemonSets(NodeTest):
    def living(self, name='log'):
        return [p for p in self.node.pods('app=' + name, self.ns) if 'deletionTimestamp' not in p['metadata']]

    def settled(self, name='log', seconds=60):
        self.k('rollout', 'status', 'ds/' + name, f'--timeout={seconds}s')

    def version(self):
        return self.sh(self.living()[0]['metadata']['name'], 'echo $HELLO_VERSION').strip()

    def status(self):
        return self.peek('daemonsets', 'log', APPS)['status']

    def node_name(self):
        return self.node.api('GET', '/api/v1/nodes').json()['items'][0]['metadata']['name']

    def test_one_pod_on_the_node(self):
        self.apply(daemon_set('log'))
        self.settled()
        self.assertRegex(self.k('get', 'ds', 'log'),
                         r'NAME +DESIRED +CURRENT +READY +UP-TO-DATE +AVAILABLE +NODE SELECTOR +AGE\nlog +1 +1 +1 +1 +1 +<none> ')
        self.assertRegex(self.k('get', 'ds', 'log', '-o', 'wide'), r'AGE +CONTAINERS +IMAGES +SELECTOR\nlog .* main +localhost/hello:1.0 +app=log')
        pod = self.living()[0]
        self.assertTrue(is_ready(pod))
        keys = {(t['key'], t['effect']) for t in pod['spec']['tolerations']}
        self.assertIn(('node.kubernetes.io/unreachable', 'NoExecute'), keys)
        self.assertIn(('node.kubernetes.io/unschedulable', 'NoSchedule'), keys)
        described = self.k('describe', 'ds', 'log')
        self.assertIn('Created pod: ' + pod['metadata']['name'], described)
        self.assertIn('Desired Number of Nodes Scheduled: 1', described)
        self.assertIn('Number of Nodes Misscheduled: 0', described)
        self.k('delete', 'pod', pod['metadata']['name'])
        wait_for(lambda: [p for p in self.living() if is_ready(p) and p['metadata']['uid'] != pod['metadata']['uid']], 20)
        self.k('delete', 'ds', 'log')
        wait_for(lambda: not self.living() and not self.get('controllerrevisions')['items'], 20)

    def test_update_history_and_undo(self):
        self.apply(daemon_set('log'))
        self.settled()
        self.k('annotate', 'ds', 'log', 'kubernetes.io/change-cause=first')
        self.k('set', 'image', 'ds/log', 'main=' + IMAGE_NEXT)
        self.settled()
        self.assertEqual('1.1', self.version())
        self.assertEqual('2', self.peek('daemonsets', 'log', APPS)['metadata']['annotations']['deprecated.daemonset.template.generation'])
        self.assertRegex(self.k('rollout', 'history', 'ds/log'), r'REVISION +CHANGE-CAUSE\n1 .*\n2 ')
        self.assertIn(IMAGE_NEXT, self.k('rollout', 'history', 'ds/log', '--revision=2'))
        self.k('rollout', 'undo', 'ds/log', '--to-revision=1')
        self.settled()
        self.assertEqual('1.0', self.version())
        self.assertRegex(self.k('rollout', 'history', 'ds/log'), r'CHANGE-CAUSE\n2 .*\n3 ')

    def test_surge_starts_the_new_pod_first(self):
        self.apply(daemon_set('log', 'until test -e /tmp/go; do sleep 0.05; done; sleep 100000',
                              spec={'updateStrategy': {'rollingUpdate': {'maxSurge': 1, 'maxUnavailable': 0}}},
                              readinessProbe={'exec': {'command': ['test', '-e', '/tmp/go']}, 'periodSeconds': 1}))

        def running(count):
            pods = self.living()
            return pods if len(pods) == count and all(p['status'].get('phase') == 'Running' for p in pods) else None

        def newest_runs(count):
            return next(p['metadata']['name'] for p in wait_for(lambda: running(count), 20) if not is_ready(p))
        self.sh(newest_runs(1), 'touch /tmp/go')
        self.settled()
        self.k('set', 'image', 'ds/log', 'main=' + IMAGE_NEXT)
        fresh = newest_runs(2)
        self.assertEqual(1, self.status()['numberReady'])
        self.sh(fresh, 'touch /tmp/go')
        self.settled()
        self.assertEqual([fresh], [p['metadata']['name'] for p in wait_for(lambda: running(1), 20)])

    def test_labels_and_taints_of_the_node(self):
        node = self.node_name()
        self.addCleanup(self.kubectl, 'taint', 'nodes', node, 'e2e-')
        self.addCleanup(self.kubectl, 'label', 'node', node, 'e2e-log-')
        self.apply(daemon_set('log', nodeSelector={'e2e-log': 'yes'}))
        wait_for(lambda: self.status().get('observedGeneration') == 1, 10)
        self.assertEqual((0, []), (self.status()['desiredNumberScheduled'], self.living()))
        self.k('label', 'node', node, 'e2e-log=yes')
        self.settled()
        uid = wait_for(self.living, 10)[0]['metadata']['uid']
        # A taint that forbids new pods lets this one stay; it is counted as misplaced.
        self.k('taint', 'nodes', node, 'e2e=x:NoSchedule')
        wait_for(lambda: self.status()['numberMisscheduled'] == 1, 10)
        self.assertEqual([uid], [p['metadata']['uid'] for p in self.living()])
        self.k('taint', 'nodes', node, 'e2e=x:NoExecute')
        wait_for(lambda: not self.living(), 20)
        self.k('taint', 'nodes', node, 'e2e-')
        wait_for(lambda: [p for p in self.living() if is_ready(p)], 20)
        # With a toleration it is back under any taint.
        self.k('patch', 'ds', 'log', '--type=merge', '-p',
               json.dumps({'spec': {'template': {'spec': {'tolerations': [{'key': 'e2e', 'operator': 'Exists'}]}}}}))
        self.settled()
        self.k('taint', 'nodes', node, 'e2e=x:NoExecute')
        wait_for(lambda: self.status()['numberMisscheduled'] == 0 and self.status()['numberReady'] == 1, 20)
        self.k('label', 'node', node, 'e2e-log-')
        wait_for(lambda: not self.living(), 20)

    def test_cordon_does_not_keep_it_away(self):
        node = self.node_name()
        self.addCleanup(self.kubectl, 'uncordon', node)
        self.k('cordon', node)
        self.apply(daemon_set('log'))
        self.settled()
        self.k('uncordon', node)

    def test_failed_pod_is_replaced(self):
        self.apply(daemon_set('log'))
        self.settled()
        pod = self.living()[0]['metadata']
        self.node.api('PATCH', f'/api/v1/namespaces/{self.ns}/pods/{pod["name"]}/status', {'status': {'phase': 'Failed'}},
                      content_type='application/merge-patch+json')
        wait_for(lambda: [p for p in self.living() if is_ready(p) and p['metadata']['uid'] != pod['uid']], 20)
        self.wait_event('log', f'FailedDaemonPod: Found failed daemon pod {self.ns}/{pod["name"]} on node')


if __name__ == '__main__':
    unittest.main()
