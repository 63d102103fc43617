"""What pods and nodes use, and autoscalers that go by it."""
import json

from harness import NodeTest, deployment, pod


class Metrics(NodeTest):
    def test_top_tells_of_pods_containers_and_nodes(self):
        self.apply(pod('busy', 'while :; do :; done', resources={'requests': {'cpu': '10m'}}), pod('calm', 'sleep 1000'))
        self.wait_running('busy')
        self.wait_running('calm')
        self.wait(lambda: {'busy', 'calm'} == {line.split()[0] for line in self.k('top', 'pods', '--no-headers').splitlines()})
        self.wait(lambda: self.cpu_of('busy') > max(20, self.cpu_of('calm')))
        self.assertRegex(self.k('top', 'pods', '--containers'), r'(?m)^busy +main +\d+m +\d+Mi')
        self.assertRegex(self.k('top', 'pods', '-A'), rf'(?m)^{self.ns} +calm +\d+m +\d+Mi')
        self.assertRegex(self.k('top', 'nodes'), r'(?m)^\S+ +\d+m +\d+% +\d+Mi +\d+%')
        self.assertNotIn('calm', self.k('top', 'pods', '-l', 'app=busy'))
        missing = self.kubectl('top', 'pod', 'nobody')
        self.assertIn('Error from server (NotFound): pods "nobody" not found', missing.stderr)

    def cpu_of(self, name):
        """Thousandths of a processor."""
        return int(self.k('top', 'pod', name, '--no-headers').split()[1].removesuffix('m'))

    def test_the_api_is_listed_and_says_when_and_for_how_long(self):
        self.assertIn('metrics.k8s.io/v1beta1', self.k('api-versions').split())
        self.apply(pod('one', 'sleep 1000'))
        self.wait_running('one')
        metrics = self.wait(lambda: self.get('pods.metrics.k8s.io', 'one'))
        self.assertEqual('PodMetrics', metrics['kind'])
        self.assertRegex(metrics['window'], r'^(\d+m)?[\d.]+m?s$')
        self.assertEqual(['main'], [c['name'] for c in metrics['containers']])
        self.assertRegex(self.k('get', 'pods.metrics.k8s.io'), r'(?m)^NAME +CPU +MEMORY +WINDOW\none +\S+ +\S+ +\S+')
        refused = self.kubectl('delete', 'pods.metrics.k8s.io', 'one')
        self.assertIn('MethodNotAllowed', refused.stderr)
        node = self.get('nodes')['items'][0]['metadata']['name']
        text = self.k('get', '--raw', f'/api/v1/nodes/{node}/proxy/metrics/resource')
        self.assertIn(f'container_cpu_usage_seconds_total{{container="main",namespace="{self.ns}",pod="one"}}', text)
        summary = json.loads(self.k('get', '--raw', f'/api/v1/nodes/{node}/proxy/stats/summary'))
        self.assertEqual(node, summary['node']['nodeName'])
        self.assertIn('one', [p['podRef']['name'] for p in summary['pods']])

    def test_viewers_may_read_metrics(self):
        self.k('create', 'rolebinding', 'v', '--clusterrole=view', '--user=vera')
        self.assertEqual('yes', self.wait(lambda: self.k('auth', 'can-i', 'list', 'pods.metrics.k8s.io', '--as=vera', check=False).stdout.strip()))


class Autoscaler(NodeTest):
    flags = ('--horizontal-pod-autoscaler-sync-period=1s',)

    def hpa(self, name='burn'):
        return self.peek('horizontalpodautoscalers', name, 'apis/autoscaling/v2')

    def conditions(self, name='burn'):
        return {c['type']: (c['status'], c['reason']) for c in self.hpa(name)['status'].get('conditions', [])}

    def test_a_busy_deployment_grows(self):
        self.apply(deployment('burn', 'while :; do :; done', container={'resources': {'requests': {'cpu': '100m'}}}, terminationGracePeriodSeconds=0))
        self.node.wait_pods_ready('app=burn', 1, ns=self.ns)
        self.k('autoscale', 'deployment', 'burn', '--min=1', '--max=2', '--cpu-percent=50')
        self.assertRegex(self.k('get', 'hpa'), r'burn +Deployment/burn +(cpu: )?\S+/50% +1 +2')
        self.wait(lambda: self.hpa()['status']['desiredReplicas'] == 2, 30, 'the autoscaler wants two')
        self.wait(lambda: self.peek('deployments', 'burn', 'apis/apps/v1')['status'].get('readyReplicas') == 2)
        self.wait(lambda: self.conditions().get('ScalingLimited') == ('True', 'TooManyReplicas'))
        self.assertEqual(('True', 'ValidMetricFound'), self.conditions()['ScalingActive'])
        self.assertEqual('True', self.conditions()['AbleToScale'][0])
        self.wait_event('burn', 'SuccessfulRescale: New size: 2; reason: cpu resource utilization (percentage of request) above target')
        # kubectl 1.20 reads autoscaling/v1.
        self.assertRegex(self.k('describe', 'hpa', 'burn'),
                         r'resource cpu on pods +\(as a percentage of request\): +\d+% \(\d+m?\) / 50%|Target CPU utilization: +50%')
        old = self.peek('horizontalpodautoscalers', 'burn', 'apis/autoscaling/v1')
        self.assertEqual(50, old['spec']['targetCPUUtilizationPercentage'])
        self.assertIn('autoscaling.alpha.kubernetes.io/conditions', old['metadata']['annotations'])

    def test_what_cannot_be_scaled_says_why(self):
        self.k('create', '-f', '-', input=json.dumps({
            'apiVersion': 'autoscaling/v1', 'kind': 'HorizontalPodAutoscaler', 'metadata': {'name': 'lost'},
            'spec': {'maxReplicas': 3, 'scaleTargetRef': {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'name': 'nobody'}}}))
        self.wait_event('lost', 'FailedGetScale: deployments.apps "nobody" not found')
        self.assertEqual(('False', 'FailedGetScale'), self.conditions('lost')['AbleToScale'])
        self.assertEqual(80, self.hpa('lost')['spec']['metrics'][0]['resource']['target']['averageUtilization'])
        self.apply(deployment('idle'))
        self.k('create', '-f', '-', input=json.dumps({
            'apiVersion': 'autoscaling/v2', 'kind': 'HorizontalPodAutoscaler', 'metadata': {'name': 'custom'},
            'spec': {'maxReplicas': 3, 'scaleTargetRef': {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'name': 'idle'},
                     'metrics': [{'type': 'Pods', 'pods': {'metric': {'name': 'qps'}, 'target': {'type': 'AverageValue', 'averageValue': '1k'}}}]}}))
        self.wait_event('custom', 'FailedGetPodsMetric: unable to get metric qps: unable to fetch metrics from custom metrics API: '
                                  'no custom metrics API (custom.metrics.k8s.io) registered')
        self.assertEqual(('False', 'FailedGetPodsMetric'), self.conditions('custom')['ScalingActive'])
        bad = self.kubectl('autoscale', 'deployment', 'idle', '--min=3', '--max=2')
        self.assertNotEqual(0, bad.returncode)
