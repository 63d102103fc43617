"""ResourceQuotas, LimitRanges and the rules of namespaces, by kubectl."""
import concurrent.futures
import unittest

from harness import NodeTest, config_map, deployment, pod, service, wait_for


def quota(name, scopes=None, **hard):
    spec = {'hard': {key.replace('__', '/').replace('_', '.'): str(value) for key, value in hard.items()}}
    if scopes:
        spec['scopes'] = scopes
    return {'apiVersion': 'v1', 'kind': 'ResourceQuota', 'metadata': {'name': name}, 'spec': spec}


def limit_range(name, *limits):
    return {'apiVersion': 'v1', 'kind': 'LimitRange', 'metadata': {'name': name}, 'spec': {'limits': list(limits)}}


class Quotas(NodeTest):
    def used(self, name='q'):
        return self.peek('resourcequotas', name).get('status', {}).get('used', {})

    def wait_used(self, name='q', **values):
        wanted = {key.replace('__', '/').replace('_', '.'): value for key, value in values.items()}
        wait_for(lambda: {key: self.used(name).get(key) for key in wanted} == wanted, 20, message=f'{wanted}; is {self.used(name)}')

    def refused(self, *objects):
        """What kubectl says of objects that are not let in."""
        with self.assertRaises(Exception) as caught:
            self.apply(*objects)
        return caught.exception.result.stderr

    def test_parallel_creates_stay_within(self):
        self.apply(quota('q', configmaps=11, pods=10))  # one of the ConfigMaps is the CA's
        self.wait_used(configmaps='1', pods='0')

        def create(i):
            made = self.node.api('POST', f'/api/v1/namespaces/{self.ns}/configmaps', config_map(f'c{i}', k='v')).status
            # They never run: no node has this label.
            body = pod(f'p{i}', 'true', nodeSelector={'no': 'where'})
            return made, self.node.api('POST', f'/api/v1/namespaces/{self.ns}/pods', body).status
        with concurrent.futures.ThreadPoolExecutor(25) as pool:
            answers = list(pool.map(create, range(50)))
        for kind in (0, 1):
            codes = [answer[kind] for answer in answers]
            self.assertEqual((10, 40), (codes.count(201), codes.count(403)), codes)
        self.assertEqual(('11', '10'), (self.used()['configmaps'], self.used()['pods']))
        described = self.k('describe', 'quota', 'q')
        self.assertRegex(described, r'configmaps +11 +11')
        self.assertRegex(described, r'pods +10 +10')
        self.k('delete', 'pod', '--all', '--wait=false')
        self.wait_used(pods='0')

    def test_a_quota_says_no_and_why(self):
        self.apply(quota('q', pods=2, requests_cpu='1', limits_memory='1Gi', services_nodeports=0, count__jobs_batch=0))
        small = {'requests': {'cpu': '400m'}, 'limits': {'memory': '100Mi'}}
        self.assertIn('pods "bare" is forbidden: failed quota: q: must specify limits.memory for: main; requests.cpu for: main',
                      self.refused(pod('bare', 'true')))
        self.apply(pod('a', 'sleep 1000', resources=small), pod('b', 'sleep 1000', resources=small))
        self.assertEqual(('2', '800m', '200Mi'), tuple(self.used()[k] for k in ('pods', 'requests.cpu', 'limits.memory')))
        self.assertIn('pods "c" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=400m, used: pods=2,requests.cpu=800m, '
                      'limited: pods=2,requests.cpu=1', self.refused(pod('c', 'true', resources=small)))
        self.assertIn('exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=0, limited: services.nodeports=0',
                      self.refused(service('s', {'a': 'b'}, {'port': 80}, type='NodePort')))
        self.assertIn('exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=0, limited: count/jobs.batch=0',
                      self.refused({'apiVersion': 'batch/v1', 'kind': 'Job', 'metadata': {'name': 'j'},
                                    'spec': {'template': {'spec': pod('x', 'true', restartPolicy='Never')['spec']}}}))
        self.k('delete', 'pod', 'a', '--wait=false', '--grace-period=0', '--force')
        self.wait_used(pods='1', requests_cpu='400m')

    def test_a_pod_that_finishes_gives_back(self):
        self.apply(quota('q', pods=1, count__pods=5))
        self.run_pod('first', 'true')
        self.wait_used(pods='0', count__pods='1')
        self.run_pod('second', 'true')

    def test_a_deployment_tells_of_its_quota(self):
        self.apply(quota('q', pods=1), deployment('web', replicas=2))
        self.wait_event(self.get('rs')['items'][0]['metadata']['name'], 'exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1')
        conditions = {c['type']: c for c in self.get('deploy', 'web')['status']['conditions']}
        self.assertEqual('FailedCreate', conditions['ReplicaFailure']['reason'])
        self.k('patch', 'quota', 'q', '--type=merge', '-p', '{"spec": {"hard": {"pods": "2"}}}')
        self.rollout('deploy/web')
        self.wait_used(pods='2')

    def test_scopes(self):
        self.apply(quota('effort', ['BestEffort'], pods=0), quota('ending', ['Terminating'], pods=1))
        self.assertIn('exceeded quota: effort', self.refused(pod('a', 'true')))
        sized = {'requests': {'cpu': '10m'}}
        self.apply(pod('b', 'sleep 1000', resources=sized), pod('c', 'sleep 1000', resources=sized, activeDeadlineSeconds=500))
        self.assertIn('exceeded quota: ending', self.refused(pod('d', 'true', resources=sized, activeDeadlineSeconds=500)))
        self.wait_used('ending', pods='1')

    def test_limit_range(self):
        self.apply(limit_range('l', {'type': 'Container', 'default': {'cpu': '500m', 'memory': '100Mi'}, 'defaultRequest': {'cpu': '100m'},
                                     'min': {'cpu': '50m'}, 'max': {'cpu': '1'}, 'maxLimitRequestRatio': {'cpu': '5'}},
                               {'type': 'Pod', 'max': {'cpu': '1500m'}}))
        self.apply(pod('plain', 'sleep 1000'))
        plain = self.get('pod', 'plain')
        self.assertEqual({'limits': {'cpu': '500m', 'memory': '100Mi'}, 'requests': {'cpu': '100m', 'memory': '100Mi'}},
                         plain['spec']['containers'][0]['resources'])
        self.assertEqual('LimitRanger plugin set: cpu, memory request for container main; cpu, memory limit for container main',
                         plain['metadata']['annotations']['kubernetes.io/limit-ranger'])
        for resources, why in (({'limits': {'cpu': '2'}, 'requests': {'cpu': '1'}}, 'maximum cpu usage per Container is 1, but limit is 2'),
                               ({'limits': {'cpu': '40m'}, 'requests': {'cpu': '40m'}}, 'minimum cpu usage per Container is 50m, but request is 40m'),
                               ({'limits': {'cpu': '1'}, 'requests': {'cpu': '100m'}},
                                'cpu max limit to request ratio per Container is 5, but provided ratio is 10.000000')):
            self.assertIn('pods "bad" is forbidden: ', self.refused(pod('bad', 'true', resources=resources)))
            self.assertIn(why, self.refused(pod('bad', 'true', resources=resources)))
        self.assertRegex(self.k('describe', 'limits', 'l'), r'Container +cpu +50m +1 +100m +500m +5')


if __name__ == '__main__':
    unittest.main()
