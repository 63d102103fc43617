"""Disruption budgets, eviction, and taking a node out of service: kubectl drain, cordon, uncordon, taint."""
import unittest

from harness import NodeTest, deployment, pod, wait_for

POLICY = 'apis/policy/v1'


def budget(name, app, **spec):
    return {'apiVersion': 'policy/v1', 'kind': 'PodDisruptionBudget', 'metadata': {'name': name},
            'spec': {'selector': {'matchLabels': {'app': app}}, **spec}}


class Disruption(NodeTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.node_name = cls.node.get('nodes')['items'][0]['metadata']['name']

    def setUp(self):
        super().setUp()
        self.addCleanup(self.k, 'uncordon', self.node_name, check=False)

    def evict(self, name, options=None):
        body = {'apiVersion': 'policy/v1', 'kind': 'Eviction', 'metadata': {'name': name, 'namespace': self.ns}}
        if options:
            body['deleteOptions'] = options
        return self.node.api('POST', f'/api/v1/namespaces/{self.ns}/pods/{name}/eviction', body)

    def status(self, name='pdb'):
        return self.peek('poddisruptionbudgets', name, POLICY).get('status', {})

    def wait_allowed(self, count, healthy):
        wait_for(lambda: (self.status().get('disruptionsAllowed'), self.status().get('currentHealthy')) == (count, healthy), 20,
                 message=f'{count} allowed of {healthy} healthy; is {self.status()}')

    def pod_names(self):
        return sorted(p['metadata']['name'] for p in self.get('pods')['items'] if 'deletionTimestamp' not in p['metadata'])

    def test_a_budget_grants_what_it_can_spare(self):
        self.apply(deployment('web', replicas=3), budget('pdb', 'web', maxUnavailable='34%'))
        self.rollout('deploy/web')
        self.wait_allowed(2, 3)
        self.assertRegex(self.k('get', 'pdb'), r'pdb +N/A +34% +2 ')
        condition = self.status()['conditions'][0]
        self.assertEqual(('DisruptionAllowed', 'True', 'SufficientPods'), (condition['type'], condition['status'], condition['reason']))
        self.k('patch', 'pdb', 'pdb', '--type=merge', '-p', '{"spec": {"maxUnavailable": 1}}')
        self.wait_allowed(1, 3)
        self.k('cordon', self.node_name)  # what goes cannot be replaced
        first, second, _ = self.pod_names()
        granted = self.evict(first)
        self.assertEqual((201, 'Success'), (granted.status, granted.json()['status']))
        self.wait_gone('pods', first)
        refused = self.evict(second)
        self.assertEqual(429, refused.status)
        answer = refused.json()
        self.assertEqual("Cannot evict pod as it would violate the pod's disruption budget.", answer['message'])
        self.assertEqual('TooManyRequests', answer['reason'])
        self.assertEqual([{'reason': 'DisruptionBudget', 'message': 'The disruption budget pdb needs 2 healthy pods and has 2 currently'}],
                         answer['details']['causes'])
        self.wait_allowed(0, 2)
        self.k('uncordon', self.node_name)
        self.wait_allowed(1, 3)
        self.assertEqual(201, self.evict(second).status)

    def test_drain_waits_for_the_budget(self):
        self.apply(deployment('web', replicas=2), budget('pdb', 'web', minAvailable=2))
        self.rollout('deploy/web')
        self.wait_allowed(0, 2)
        flags = ('--pod-selector=app=web', '--delete-emptydir-data', '--force')
        late = self.kubectl('drain', self.node_name, '--timeout=3s', *flags)
        self.assertNotEqual(0, late.returncode)
        self.assertIn("Cannot evict pod as it would violate the pod's disruption budget.", late.stderr)
        self.assertIn('SchedulingDisabled', self.k('get', 'nodes'))
        self.assertEqual(2, len(self.pod_names()))
        before = self.pod_names()
        self.k('delete', 'pdb', 'pdb')
        drained = self.k('drain', self.node_name, '--timeout=60s', *flags)
        self.assertEqual(2, drained.count('evicting pod'), drained)
        self.assertRegex(drained, 'drained|evicted')
        self.assertFalse(set(before) & set(self.pod_names()))
        wait_for(lambda: [p['status']['phase'] for p in self.get('pods')['items']] == ['Pending', 'Pending'], 20)
        self.k('uncordon', self.node_name)
        self.rollout('deploy/web')

    def test_pods_that_a_budget_does_not_guard(self):
        self.apply(budget('pdb', 'web', minAvailable=1), budget('other', 'twice', minAvailable=1), budget('more', 'twice', minAvailable=1),
                   pod('done', 'true', labels={'app': 'web'}, restartPolicy='Never'),
                   pod('waits', 'sleep 1000', labels={'app': 'web'}, nodeSelector={'no': 'where'}),
                   pod('sick', 'sleep 1000', labels={'app': 'web'}, readinessProbe={'exec': {'command': ['false']}, 'periodSeconds': 1}),
                   pod('both', 'sleep 1000', labels={'app': 'twice'}))
        self.wait_phase('done', 'Succeeded')
        self.wait_phase('sick', 'Running')
        self.wait_running('both')
        for name in ('done', 'waits'):
            self.assertEqual(201, self.evict(name).status, name)
            self.wait_gone('pods', name)
        wait_for(lambda: self.status().get('expectedPods') == 1, 20)
        self.assertEqual(429, self.evict('sick').status)
        self.k('patch', 'pdb', 'pdb', '--type=merge', '-p', '{"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}')
        self.assertEqual(201, self.evict('sick', {'dryRun': ['All']}).status)
        self.assertNotIn('deletionTimestamp', self.peek('pods', 'sick')['metadata'])
        self.assertEqual(201, self.evict('sick', {'gracePeriodSeconds': 0}).status)
        self.wait_gone('pods', 'sick')
        several = self.evict('both')
        self.assertEqual(500, several.status)
        self.assertIn('This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.', several.json()['message'])
        self.wait_event('both', 'matches multiple PodDisruptionBudgets')

    def test_an_evicted_pod_tells_why(self):
        self.apply(pod('p', 'trap "" TERM; while :; do sleep 1; done', terminationGracePeriodSeconds=20))
        self.wait_running('p')
        self.assertEqual(201, self.evict('p').status)
        conditions = {c['type']: c for c in self.peek('pods', 'p')['status']['conditions']}
        self.assertEqual(('True', 'EvictionByEvictionAPI', 'Eviction API: evicting'),
                         tuple(conditions['DisruptionTarget'][k] for k in ('status', 'reason', 'message')))
        self.k('delete', 'pod', 'p', '--force', '--grace-period=0')

    def test_taints(self):
        self.apply(pod('stays', 'sleep 1000', tolerations=[{'key': 'fire', 'operator': 'Exists'}]),
                   pod('lingers', 'sleep 1000', tolerations=[{'key': 'fire', 'operator': 'Exists', 'effect': 'NoExecute', 'tolerationSeconds': 2}]),
                   pod('goes', 'sleep 1000'))
        for name in ('stays', 'lingers', 'goes'):
            self.wait_running(name)
        self.addCleanup(self.k, 'taint', 'nodes', self.node_name, 'fire-', check=False)
        self.assertIn('tainted', self.k('taint', 'nodes', self.node_name, 'fire=yes:NoExecute'))
        self.wait_gone('pods', 'goes')
        self.wait_event('goes', 'TaintManagerEviction: Marking for deletion Pod')
        self.wait_gone('pods', 'lingers')
        self.assertNotIn('deletionTimestamp', self.peek('pods', 'stays')['metadata'])
        self.apply(pod('late', 'sleep 1000'))
        self.wait_event('late', 'had untolerated taint')
        self.assertIn('untainted', self.k('taint', 'nodes', self.node_name, 'fire-'))
        self.wait_running('late')


if __name__ == '__main__':
    unittest.main()
