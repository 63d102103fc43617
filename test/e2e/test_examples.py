"""manifests/examples, each applied as it is and seen doing what its first lines say."""
import collections
import unittest

from harness import NodeTest, ROOT, needs_dns, needs_kubectl, wait_for


class Examples(NodeTest):
    flags = ('--horizontal-pod-autoscaler-sync-period', '2s')

    def example(self, name, ns=None):
        """Applies it, twice; `ns` is the namespace that it brings with it."""
        file = ROOT / f'manifests/examples/{name}.yaml'
        arguments = () if ns else ('-n', self.ns)
        self.node.kubectl('apply', *arguments, '-f', file)
        again = self.node.kubectl('apply', *arguments, '-f', file).stdout.splitlines()
        # What defaults add to a pod's mounts and to claim templates, and kinds that kubectl 1.20 does not know, make it send a patch that
        # changes nothing.
        self.assertEqual([], [line for line in again if 'configured' in line and not line.startswith(('pod/', 'statefulset', 'cronjob'))])
        self.addCleanup(self.node.kubectl, 'delete', *arguments, '--wait=false', '-f', file, check=False)

    def page(self, name):
        address = self.get('service', name)['spec']['clusterIP']
        return self.node.run('curl', '-sS', '--max-time', '5', f'http://{address}/').stdout.strip()

    def test_sidecar(self):
        self.example('sidecar')
        self.rollout('deploy/sidecar')
        self.assertEqual('sidecar\n', self.sh('deploy/sidecar', 'wget -qO- localhost'))
        wait_for(lambda: 'response:200' in self.k('logs', 'deploy/sidecar', '-c', 'log-reader'), 20, message='the log comes through')

    def test_adapter(self):
        self.example('adapter')
        self.rollout('deploy/adapter')
        got = self.k('exec', 'deploy/adapter', '-c', 'application', '--', 'wget', '-qO-', 'localhost/cgi-bin/metrics')
        self.assertRegex(got, r'work_done_total \d+\n')

    @needs_dns
    def test_ambassador(self):
        self.example('ambassador')
        self.wait_running('ambassador')
        self.wait_running('ambassador-backend')
        wait_for(lambda: 'from the backend' in self.k('logs', 'ambassador', '-c', 'application'), 30)

    @needs_dns
    def test_init(self):
        self.example('init')
        self.wait_running('init')
        self.assertEqual('backend\nprepared\n', self.sh('init', 'wget -qO- localhost'))

    @needs_dns
    def test_statefulset(self):
        self.example('statefulset')
        self.k('rollout', 'status', 'statefulset/store', '--timeout=60s')
        wait_for(lambda: 'store-2 started' in self.sh('store-0', 'wget -qO- store-2.store'), 20)
        self.k('delete', 'pod', 'store-1')
        self.wait_running('store-1')
        self.assertEqual('store-1 started\n' * 2, self.sh('store-1', 'cat /data/index.html'))

    def test_daemonset(self):
        self.example('daemonset')
        self.k('rollout', 'status', 'daemonset/node-watch', '--timeout=60s')
        self.assertRegex(wait_for(lambda: self.k('logs', 'daemonset/node-watch'), 20), r'^\S+ load \d')

    def test_job(self):
        self.example('job')
        self.k('wait', '--for=condition=complete', 'job/parts', '--timeout=60s')
        sums = sorted(int(line) for line in self.k('logs', '-l', 'job-name=parts').split())
        self.assertEqual([5050 + 10000 * i for i in range(5)], sums)

    @needs_kubectl(21)  # which speaks batch/v1 about CronJobs
    def test_cronjob(self):
        self.example('cronjob')
        self.k('create', 'job', '--from=cronjob/report', 'report-now')
        self.k('wait', '--for=condition=complete', 'job/report-now', '--timeout=60s')
        self.assertIn('all is well', self.k('logs', 'job/report-now'))

    @needs_dns
    def test_hpa(self):
        self.example('hpa')
        self.rollout('deploy/autoscaled')
        self.k('scale', 'deploy', 'autoscaled-load', '--replicas', '2')
        wait_for(lambda: self.peek('deployments', 'autoscaled', 'apis/apps/v1')['spec']['replicas'] > 1, 60, message='it grows under load')

    def test_quota(self):
        self.example('quota', 'team')
        self.node.kubectl('-n', 'team', 'rollout', 'status', 'deploy/web', '--timeout=60s')
        self.node.kubectl('-n', 'team', 'scale', 'deploy', 'web', '--replicas', '9')
        wait_for(lambda: 'exceeded quota: team' in self.node.kubectl('-n', 'team', 'describe', 'rs').stdout, 20)
        wait_for(lambda: self.node.get('-n', 'team', 'quota', 'team')['status']['used']['pods'] == '6', 20)

    def test_blue_green(self):
        self.example('blue-green')
        for colour in ('blue', 'green'):
            self.k('rollout', 'status', 'deploy/shop-' + colour, '--timeout=60s')
        wait_for(lambda: self.page('shop') == 'blue', 10)
        self.k('patch', 'service', 'shop', '-p', '{"spec": {"selector": {"version": "green"}}}')
        wait_for(lambda: self.page('shop') == 'green', 10)
        self.assertEqual({'green'}, {self.page('shop') for _ in range(10)})

    def test_canary(self):
        self.example('canary')
        for track in ('stable', 'canary'):
            self.k('rollout', 'status', 'deploy/api-' + track, '--timeout=60s')
        wait_for(lambda: self.page('api') == '1.1', 20, 0, message='the canary answers')
        seen = collections.Counter(self.page('api') for _ in range(80))
        self.assertEqual({'1.0', '1.1'}, set(seen))
        self.assertGreater(seen['1.0'], seen['1.1'])


if __name__ == '__main__':
    unittest.main()
