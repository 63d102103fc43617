"""The scheduler over simulated nodes: what kubectl and the API show of where pods go, and why they go nowhere."""
import json
import re
import unittest

from harness import Node, NodeTest, wait_for

CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
podMaxBackoffSeconds: 2
profiles:
- schedulerName: default-scheduler
- schedulerName: by-image
  plugins:
    score:
      disabled: [{name: '*'}]
      enabled: [{name: ImageLocality}]
"""


class Scheduling(NodeTest):
    import_images = False

    @classmethod
    def setUpClass(cls):
        cls.node = Node('brume-sched', ['--disable-agent', '--disable', 'dns'])
        cls.addClassCleanup(cls.node.destroy)
        config = cls.node.dir / 'scheduler.yaml'
        config.write_text(CONFIG)
        cls.node.flags += ['--scheduler-config', config]
        cls.node.start()

    def nodes(self, *names, cpu='2', zones=(), taints=(), images=()):
        """Nodes that no kubelet stands behind. They are gone at the test's end, which comes before they are found silent."""
        for i, name in enumerate(names):
            labels = {'kubernetes.io/hostname': name, **({'topology.kubernetes.io/zone': zones[i]} if zones else {})}
            amounts = {'cpu': cpu, 'memory': '4Gi', 'pods': '20'}
            body = {'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': name, 'labels': labels}, 'spec': {'taints': list(taints)},
                    'status': {'capacity': amounts, 'allocatable': amounts, 'conditions': [{'type': 'Ready', 'status': 'True'}],
                               'images': [{'names': [image], 'sizeBytes': 900 << 20} for image in images]}}
            self.assertEqual(201, self.node.api('POST', '/api/v1/nodes', body).status)
            self.addCleanup(self.node.api, 'DELETE', '/api/v1/nodes/' + name)

        def settled():
            nodes = self.node.api('GET', '/api/v1/nodes').json()['items']
            return not any(t['key'].startswith('node.kubernetes.io/not-ready') for n in nodes for t in n['spec'].get('taints', []))
        wait_for(settled, 10, message='the nodes are found ready')

    def pod(self, name, cpu='100m', labels=None, **spec):
        container = {'name': 'main', 'image': spec.pop('image', 'localhost/none:1'), 'resources': {'requests': {'cpu': cpu, 'memory': '16Mi'}}}
        container.update(spec.pop('container', {}))
        return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name, 'namespace': self.ns, 'labels': labels or {'app': 'web'}},
                'spec': {'terminationGracePeriodSeconds': 0, 'containers': [container], **spec}}

    def where(self, name):
        return self.wait_pod(name, lambda p: p['spec'].get('nodeName'), 10, f'pod {name} has a node')['spec']['nodeName']

    def why_not(self, name):
        """The message of a pod that has no node."""
        def condition(pod):
            return [c for c in pod['status'].get('conditions', []) if c['type'] == 'PodScheduled' and c['status'] == 'False']
        return condition(self.wait_pod(name, condition, 10, f'pod {name} is said to be unschedulable'))[0]

    def test_messages(self):
        self.nodes('m1', 'm2')
        self.nodes('m3', taints=[{'key': 'gpu', 'value': 'yes', 'effect': 'NoSchedule'}])
        self.apply(self.pod('big', '3'))
        message = ('0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: 0/3 nodes are available: '
                   '3 Preemption is not helpful for scheduling.')
        condition = self.why_not('big')
        self.assertEqual(('Unschedulable', message), (condition['reason'], condition['message']))
        self.wait_event('big', 'FailedScheduling: ' + message)
        self.assertIn('FailedScheduling', self.k('describe', 'pod', 'big'))
        self.apply(self.pod('small'))
        self.assertIn(self.where('small'), ('m1', 'm2'))
        self.wait_event('small', f'Scheduled: Successfully assigned {self.ns}/small to {self.where("small")}')
        # More room lets it in.
        amounts = {'cpu': '4', 'memory': '4Gi', 'pods': '20'}
        self.node.api('PATCH', '/api/v1/nodes/m1/status', {'status': {'capacity': amounts, 'allocatable': amounts}}, 'application/merge-patch+json')
        self.assertEqual('m1', self.where('big'))

    def test_cordon_and_selector(self):
        self.nodes('c1', 'c2')
        self.k('cordon', 'c1')
        self.apply(*(self.pod(f'p{i}') for i in range(4)))
        self.assertEqual({'c2'}, {self.where(f'p{i}') for i in range(4)})
        self.apply(self.pod('only', nodeSelector={'kubernetes.io/hostname': 'c1'}))
        self.assertIn("1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable", self.why_not('only')['message'])
        self.k('uncordon', 'c1')
        self.assertEqual('c1', self.where('only'))

    def test_gates(self):
        self.nodes('g1')
        self.apply(self.pod('gated', schedulingGates=[{'name': 'example.com/wait'}]))
        self.assertEqual('SchedulingGated', self.why_not('gated')['reason'])
        self.assertRegex(self.k('get', 'pod', 'gated'), 'SchedulingGated')
        self.k('patch', 'pod', 'gated', '--type=json', '-p', json.dumps([{'op': 'remove', 'path': '/spec/schedulingGates'}]))
        self.assertEqual('g1', self.where('gated'))

    def test_pod_affinity(self):
        self.nodes('a1', 'a2', 'a3', zones=['east', 'east', 'west'])
        term = {'labelSelector': {'matchLabels': {'app': 'db'}}, 'topologyKey': 'topology.kubernetes.io/zone'}
        self.apply(self.pod('db', labels={'app': 'db'}, nodeSelector={'kubernetes.io/hostname': 'a3'}))
        self.assertEqual('a3', self.where('db'))
        self.apply(self.pod('near', affinity={'podAffinity': {'requiredDuringSchedulingIgnoredDuringExecution': [term]}}),
                   self.pod('far', affinity={'podAntiAffinity': {'requiredDuringSchedulingIgnoredDuringExecution': [term]}}))
        self.assertEqual('a3', self.where('near'))
        self.assertIn(self.where('far'), ('a1', 'a2'))
        apart = {'labelSelector': {'matchLabels': {'app': 'one'}}, 'topologyKey': 'kubernetes.io/hostname'}
        alone = {'podAntiAffinity': {'requiredDuringSchedulingIgnoredDuringExecution': [apart]}}
        self.apply(*(self.pod(f'one{i}', labels={'app': 'one'}, affinity=alone) for i in range(3)))
        self.assertEqual({'a1', 'a2', 'a3'}, {self.where(f'one{i}') for i in range(3)})
        self.apply(self.pod('one3', labels={'app': 'one'}, affinity=alone))
        self.assertIn("3 node(s) didn't match pod anti-affinity rules", self.why_not('one3')['message'])
        self.k('delete', 'pod', 'one1')
        self.where('one3')

    def test_label_keys_are_merged(self):
        term = {'labelSelector': {'matchLabels': {'app': 'web'}}, 'topologyKey': 'zone', 'matchLabelKeys': ['version'], 'mismatchLabelKeys': ['tenant']}
        constraint = {'maxSkew': 1, 'topologyKey': 'zone', 'whenUnsatisfiable': 'ScheduleAnyway', 'labelSelector': {}, 'matchLabelKeys': ['version', 'none']}
        self.apply(self.pod('p', labels={'version': '2', 'tenant': 't'}, topologySpreadConstraints=[constraint],
                            affinity={'podAffinity': {'requiredDuringSchedulingIgnoredDuringExecution': [term]}}))
        spec = self.peek('pods', 'p')['spec']
        version = {'key': 'version', 'operator': 'In', 'values': ['2']}
        self.assertEqual([version], spec['topologySpreadConstraints'][0]['labelSelector']['matchExpressions'])
        merged = spec['affinity']['podAffinity']['requiredDuringSchedulingIgnoredDuringExecution'][0]['labelSelector']
        self.assertEqual({'matchLabels': {'app': 'web'},
                          'matchExpressions': [version, {'key': 'tenant', 'operator': 'NotIn', 'values': ['t']}]}, merged)

    def test_spread(self):
        self.nodes('s1', 's2', 's3', 's4', zones=['x', 'x', 'x', 'y'])
        constraint = {'maxSkew': 1, 'topologyKey': 'topology.kubernetes.io/zone', 'whenUnsatisfiable': 'DoNotSchedule',
                      'labelSelector': {'matchLabels': {'app': 'web'}}}
        self.apply(*(self.pod(f'p{i}', topologySpreadConstraints=[constraint]) for i in range(8)))
        zones = [('y' if self.where(f'p{i}') == 's4' else 'x') for i in range(8)]
        self.assertEqual(4, zones.count('x'), zones)

    def test_preemption(self):
        self.nodes('p1', 'p2')
        for name, value, policy in (('low', 1, 'PreemptLowerPriority'), ('high', 1000, 'PreemptLowerPriority'), ('polite', 1000, 'Never')):
            name = f'e2e-{name}'
            self.node.apply({'apiVersion': 'scheduling.k8s.io/v1', 'kind': 'PriorityClass', 'metadata': {'name': name}, 'value': value,
                             'preemptionPolicy': policy})
            self.addCleanup(self.node.api, 'DELETE', '/apis/scheduling.k8s.io/v1/priorityclasses/' + name)
        self.apply(*(self.pod(f'low{i}', '1500m', priorityClassName='e2e-low') for i in range(2)))
        for i in range(2):
            self.where(f'low{i}')
        self.apply(self.pod('polite', '1500m', priorityClassName='e2e-polite'))
        self.assertEqual('0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.',
                         self.why_not('polite')['message'])
        self.k('delete', 'pod', 'polite')
        self.apply(self.pod('high', '1500m', priorityClassName='e2e-high'))
        node = self.where('high')
        left = [p['metadata']['name'] for p in self.get('pods')['items'] if p['metadata']['name'].startswith('low')]
        self.assertEqual(1, len(left), left)
        gone = 'low1' if left == ['low0'] else 'low0'
        uid = self.peek('pods', 'high')['metadata']['uid']
        self.wait_event(gone, f'Preempted: Preempted by pod {uid} on node {node}')

    def test_profiles(self):
        self.nodes('b1', 'b2', 'b3', 'b4', cpu='10')
        self.apply(*(self.pod(f'packed{i}', schedulerName='bin-packing') for i in range(4)))
        self.assertEqual(1, len({self.where(f'packed{i}') for i in range(4)}))
        self.apply(*(self.pod(f'spread{i}', '1') for i in range(4)))
        self.assertEqual(4, len({self.where(f'spread{i}') for i in range(4)}))
        self.nodes('i1', images=['localhost/big:1'])
        self.apply(self.pod('image', schedulerName='by-image', image='localhost/big:1'))
        self.assertEqual('i1', self.where('image'))
        self.apply(self.pod('foreign', schedulerName='somebody-else'))
        self.where('image')
        self.assertNotIn('nodeName', self.peek('pods', 'foreign')['spec'])

    def test_restart(self):
        self.nodes('r1')
        self.apply(self.pod('waits', '3'), self.pod('runs'))
        self.why_not('waits')
        self.where('runs')
        self.node.stop()
        self.node.start()
        self.nodes('r2', cpu='4')
        self.assertEqual('r2', self.where('waits'))
        self.assertEqual('r1', self.where('runs'))


class Configuration(unittest.TestCase):
    def test_errors_are_one_line(self):
        node = Node('brume-schedcfg', ['--disable-agent', '--disable', 'dns'])
        self.addCleanup(node.destroy)
        config = node.dir / 'scheduler.yaml'
        node.flags += ['--scheduler-config', config]
        for text, message in (('profiles: [{plugins: {score: {enabled: [{name: Best}]}}}]', r'there is no plugin \\?"Best\\?"'),
                              ('profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {x: 1}}]}]', r'unknown field \\?"x\\?"'),
                              ('parallelism: lots', 'scheduler configuration.parallelism: must be an integer')):
            config.write_text('apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n' + text + '\n')
            node.log.write_text('')
            node.start(ready=False)
            self.assertNotEqual(0, node.process.wait(20))
            node.process = None
            self.assertRegex(node.log.read_text(), re.compile(message))


if __name__ == '__main__':
    unittest.main()
