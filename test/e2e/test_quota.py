"""ResourceQuotas, LimitRanges and the rules of namespaces, by kubectl."""
import base64
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


class Rules(NodeTest):
    """What namespaces and their controllers do by themselves."""
    import_images = False

    def test_pod_security(self):
        self.assertIn('must be one of privileged, baseline, restricted',
                      self.kubectl('label', 'ns', self.ns, 'pod-security.kubernetes.io/enforce=strict').stderr)
        self.apply(pod('host', 'true', hostNetwork=True, nodeSelector={'no': 'where'}))
        told = self.kubectl('label', 'ns', self.ns, 'pod-security.kubernetes.io/enforce=restricted')
        self.assertIn(f'existing pods in namespace "{self.ns}" violate the new PodSecurity enforce level "restricted:latest"', told.stderr)
        self.assertIn('Warning: host: host namespaces', told.stderr)
        refused = self.kubectl('run', 'bad', '--image=x')
        self.assertIn('pods "bad" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false', refused.stderr)
        warned = self.kubectl('create', 'deployment', 'd', '--image=x')
        self.assertEqual(0, warned.returncode, warned.stderr)
        self.assertIn('Warning: would violate PodSecurity "restricted:latest"', warned.stderr)
        self.k('label', '--overwrite', 'ns', self.ns, 'pod-security.kubernetes.io/enforce-version=v1.7')
        self.assertIn('restricted:v1.7', self.kubectl('run', 'bad', '--image=x', '--privileged').stderr)

    def test_a_token_secret_is_a_key_to_the_api(self):
        self.k('create', 'sa', 'robot')
        self.apply({'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'key', 'annotations': {'kubernetes.io/service-account.name': 'robot'}},
                    'type': 'kubernetes.io/service-account-token'})
        data = wait_for(lambda: self.peek('secrets', 'key').get('data'), 10)
        self.assertEqual({'ca.crt', 'namespace', 'token'}, set(data))
        token = base64.b64decode(data['token']).decode()
        me = self.node.api('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews',
                           {'apiVersion': 'authentication.k8s.io/v1', 'kind': 'SelfSubjectReview'}, token=token)
        self.assertEqual(f'system:serviceaccount:{self.ns}:robot', me.json()['status']['userInfo']['username'])
        self.assertIn('Token', self.k('describe', 'secret', 'key').title())
        self.k('delete', 'sa', 'robot')
        self.wait_gone('secrets', 'key')
        self.assertEqual(401, self.node.api('GET', '/api/v1/namespaces', token=token).status)

    def test_cluster_roles_aggregate(self):
        self.k('create', 'clusterrole', self.ns, '--verb=get', '--resource=pods')
        self.addCleanup(self.k, 'delete', 'clusterrole', self.ns, self.ns + '-all')
        self.k('label', 'clusterrole', self.ns, 'part=' + self.ns)
        self.k('create', 'clusterrole', self.ns + '-all', '--aggregation-rule=part=' + self.ns)
        rules = wait_for(lambda: self.get('clusterrole', self.ns + '-all').get('rules'), 10)
        self.assertEqual(['pods'], rules[0]['resources'])
        self.assertIn('deployments.apps', self.k('describe', 'clusterrole', 'admin'))

    def test_endpoints_are_mirrored(self):
        self.apply(service('db', None, {'port': 5432}),
                   {'apiVersion': 'v1', 'kind': 'Endpoints', 'metadata': {'name': 'db'},
                    'subsets': [{'addresses': [{'ip': '192.0.2.7'}], 'ports': [{'port': 5432}]}]})
        slices = wait_for(lambda: self.get('endpointslices', '-l', 'kubernetes.io/service-name=db')['items'], 10)
        self.assertEqual(['192.0.2.7'], slices[0]['endpoints'][0]['addresses'])
        self.assertEqual('endpointslicemirroring-controller.k8s.io', slices[0]['metadata']['labels']['endpointslice.kubernetes.io/managed-by'])

    def test_who_may_what(self):
        self.k('create', 'sa', 'robot')
        self.k('create', 'role', 'reader', '--verb=get,list', '--resource=configmaps')
        self.k('create', 'rolebinding', 'reader', '--role=reader', f'--serviceaccount={self.ns}:robot')
        mine = self.k('auth', 'can-i', '--list', f'--as=system:serviceaccount:{self.ns}:robot')
        self.assertRegex(mine, r'configmaps +\[\] +\[\] +\[get list\]')
        self.assertRegex(mine, r'selfsubjectrulesreviews.authorization.k8s.io +\[\] +\[\] +\[create\]')
        self.assertNotIn('*.*', mine)
        self.assertRegex(self.k('auth', 'can-i', '--list'), r'\*\.\* +\[\] +\[\] +\[\*\]')

    def test_a_namespace_tells_what_it_waits_for(self):
        name = self.ns + '-2'
        self.make_namespace(name)
        self.k('create', 'cm', 'held', '-n', name)
        self.k('patch', 'cm', 'held', '-n', name, '--type=merge', '-p', '{"metadata": {"finalizers": ["example.com/wait"]}}')
        self.k('delete', 'ns', name, '--wait=false')

        def conditions():
            status = self.get('ns', name)['status']
            return {c['type']: (c['status'], c['reason'], c['message']) for c in status.get('conditions', [])}
        wait_for(lambda: conditions().get('NamespaceContentRemaining', ('',))[0] == 'True', 20)
        self.assertEqual(('True', 'SomeResourcesRemain', 'Some resources are remaining: configmaps. has 1 resource instances'),
                         conditions()['NamespaceContentRemaining'])
        self.assertEqual(('True', 'SomeFinalizersRemain',
                          'Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances'),
                         conditions()['NamespaceFinalizersRemaining'])
        self.assertEqual('False', conditions()['NamespaceDeletionDiscoveryFailure'][0])
        refused = self.kubectl('create', 'cm', 'late', '-n', name)
        self.assertIn(f'unable to create new content in namespace {name} because it is being terminated', refused.stderr)
        self.k('patch', 'cm', 'held', '-n', name, '--type=merge', '-p', '{"metadata": {"finalizers": null}}')
        wait_for(lambda: self.node.api('GET', '/api/v1/namespaces/' + name).status == 404, 30, message='the namespace is gone')


if __name__ == '__main__':
    unittest.main()
