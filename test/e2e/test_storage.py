"""Persistent volumes, claims and the default storage class, driven by kubectl as a person would."""
import os
import pathlib
import signal
import unittest

from harness import NodeTest, deployment, pod, wait_for

WAITING = 'waiting for first consumer to be created before binding'


def claim(name, size='16Mi', **spec):
    return {'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name},
            'spec': {'accessModes': ['ReadWriteOnce'], 'resources': {'requests': {'storage': size}}, **spec}}


def volume(name, size='16Mi', **spec):
    return {'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': name},
            'spec': {'accessModes': ['ReadWriteOnce'], 'capacity': {'storage': size}, **spec}}


def uses(name, **more):
    return {'volumes': [{'name': 'data', 'persistentVolumeClaim': {'claimName': name, **more}}],
            'volumeMounts': [{'name': 'data', 'mountPath': '/data'}]}


class Storage(NodeTest):
    flags = ('--disable', 'dns')

    def storage(self):
        """The directories of the node's persistent volumes."""
        return sorted(p.name for p in (self.node.dir / 'data/storage').glob('*'))

    def directory_of(self, name):
        found = [d for d in self.storage() if d.endswith(f'_{self.ns}_{name}')]
        self.assertEqual(1, len(found), self.storage())
        return self.node.dir / 'data/storage' / found[0]

    def phase(self, name):
        return self.peek('persistentvolumeclaims', name)['status']['phase']

    def wait_bound(self, name):
        self.wait(lambda: self.phase(name) == 'Bound', message=f'claim {name} is bound')
        return self.peek('persistentvolumeclaims', name)['spec']['volumeName']

    def volume(self, name):
        answer = self.node.api('GET', '/api/v1/persistentvolumes/' + name)
        return answer.json() if answer.status == 200 else None

    def wait_volume_gone(self, name):
        self.wait(lambda: self.volume(name) is None, message=f'volume {name} is gone')

    def test_a_deployment_keeps_its_data(self):
        self.assertRegex(self.k('get', 'storageclass'),
                         r'local-path \(default\) +brume.dev/local-path +Delete +WaitForFirstConsumer +true')
        self.apply(claim('data'))
        self.wait_event('data', WAITING)
        self.assertRegex(self.k('get', 'pvc'), r'data +Pending +local-path')
        self.apply(deployment('web', 'echo one >> /data/log; until rm /data/end 2>/dev/null; do sleep 0.2; done', **uses('data'), spec={'strategy': {'type': 'Recreate'}}))
        self.rollout('deploy/web')
        name = self.wait_bound('data')
        self.assertRegex(self.k('get', 'pvc'), rf'data +Bound +{name} +16Mi +RWO +local-path')
        self.assertRegex(self.k('get', 'pv'), rf'{name} +16Mi +RWO +Delete +Bound +{self.ns}/data +local-path')
        directory = self.directory_of('data')
        self.assertEqual(0o777, directory.stat().st_mode & 0o7777)
        self.assertEqual('one\n', (directory / 'log').read_text())

        self.k('delete', 'pod', '--all', '--timeout=30s')
        self.rollout('deploy/web')
        self.assertEqual('one\none\n', self.sh('deploy/web', 'cat /data/log'))

        # A restart of brume leaves the pod and what it has; a restart of its container finds the volume again.
        self.node.stop(signal.SIGKILL)
        self.node.start()
        wait_for(self.node.node_ready, 20)
        self.assertEqual('one\none\n', self.sh('deploy/web', 'cat /data/log'))
        (directory / 'end').touch()
        self.wait(lambda: (directory / 'log').read_text() == 'one\n' * 3, message='the container runs again')

        # It grows while the pod runs, and does not shrink.
        self.k('patch', 'pvc', 'data', '-p', '{"spec":{"resources":{"requests":{"storage":"32Mi"}}}}')
        self.wait_event('data', f'VolumeResizeSuccessful: ExpandVolume succeeded for volume {self.ns}/data')
        self.assertRegex(self.k('get', 'pvc'), rf'data +Bound +{name} +32Mi +RWO +local-path')
        self.assertRegex(self.k('get', 'pv'), rf'{name} +32Mi ')
        refused = self.kubectl('patch', 'pvc', 'data', '-p', '{"spec":{"resources":{"requests":{"storage":"16Mi"}}}}')
        self.assertIn('field can not be less than status.capacity', refused.stderr)

        # The claim is protected as long as a pod uses it.
        self.k('delete', 'pvc', 'data', '--wait=false')
        self.assertIn('Terminating', self.k('get', 'pvc', 'data'))
        self.assertEqual(['kubernetes.io/pvc-protection'], self.peek('persistentvolumeclaims', 'data')['metadata']['finalizers'])
        self.apply(pod('late', 'true', **uses('data')))
        self.wait_pod('late', lambda p: any('is being deleted' in c.get('message', '') for c in p['status'].get('conditions', [])))
        self.k('delete', 'pod', 'late', '--timeout=30s')
        self.k('delete', 'deploy', 'web', '--timeout=30s')
        self.wait_gone('persistentvolumeclaims', 'data')
        self.wait_volume_gone(name)
        self.assertFalse(directory.exists())

    def test_a_retained_volume_stays(self):
        self.apply(claim('data'), pod('writer', 'echo kept > /data/f; sleep 100000', **uses('data')))
        self.wait_running('writer')
        name = self.wait_bound('data')
        directory = self.directory_of('data')
        self.wait(lambda: (directory / 'f').exists())
        self.k('patch', 'pv', name, '-p', '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}')
        self.k('delete', 'pod', 'writer', '--timeout=30s')
        self.k('delete', 'pvc', 'data', '--timeout=30s')
        self.wait(lambda: self.volume(name)['status']['phase'] == 'Released')
        self.assertEqual('kept\n', (directory / 'f').read_text())
        # A new claim that names it gets it when a person has freed it.
        self.k('patch', 'pv', name, '--type=json', '-p', '[{"op":"remove","path":"/spec/claimRef"}]')
        self.apply(claim('again', volumeName=name), pod('reader', 'cat /data/f; sleep 100000', **uses('again', readOnly=True)))
        self.wait_running('reader')
        self.assertEqual('kept\n', self.k('logs', 'reader'))
        self.assertIn('Read-only', self.sh('reader', 'touch /data/x 2>&1; true'))
        self.k('delete', 'pod', 'reader', '--timeout=30s')
        self.k('delete', 'pvc', 'again', '--timeout=30s')
        self.k('delete', 'pv', name, '--timeout=30s')
        self.assertTrue((directory / 'f').exists(), 'Retain holds for a deleted volume, too')

    def test_a_host_path_that_is_bound_before(self):
        path = self.node.dir / 'host'
        path.mkdir(mode=0o777)
        self.addCleanup(self.node.api, 'DELETE', '/api/v1/persistentvolumes/by-hand')
        self.apply(volume('by-hand', '1Gi', storageClassName='', hostPath={'path': str(path)},
                          claimRef={'namespace': self.ns, 'name': 'mine'}))
        self.apply(claim('other', storageClassName=''))
        self.wait_event('other', 'FailedBinding: no persistent volumes available for this claim and no storage class is set')
        self.apply(claim('mine', storageClassName=''))
        self.assertEqual('by-hand', self.wait_bound('mine'))
        spec = uses('mine')
        spec['volumeMounts'] = [{'name': 'data', 'mountPath': '/data', 'subPath': 'deep/down'}]
        self.apply(pod('web', 'echo hello > /data/f; sleep 100000', **spec))
        self.wait_running('web')
        self.wait(lambda: (path / 'deep/down/f').read_text() == 'hello\n')
        # A volume is protected as long as a claim has it.
        self.k('delete', 'pv', 'by-hand', '--wait=false')
        self.assertRegex(self.k('get', 'pv', 'by-hand'), r'by-hand +1Gi +RWO +Retain +Terminating')
        self.k('delete', 'pod', 'web', '--timeout=30s')
        self.k('delete', 'pvc', 'mine', '--timeout=30s')
        self.wait_volume_gone('by-hand')
        self.assertEqual('hello\n', (path / 'deep/down/f').read_text())

    def test_pods_say_what_they_wait_for(self):
        self.apply(pod('lost', 'true', **uses('nowhere')), claim('none', storageClassName=''), pod('unbound', 'true', **uses('none')),
                   claim('many', accessModes=['ReadWriteMany']), pod('shared', 'true', **uses('many')))
        for name, text in (('lost', 'persistentvolumeclaim "nowhere" not found'),
                           ('unbound', 'pod has unbound immediate PersistentVolumeClaims')):
            self.wait_pod(name, lambda p, text=text: any(text in c.get('message', '') for c in p['status'].get('conditions', [])), 10)
            self.assertIn(text, self.k('describe', 'pod', name))
        self.wait_event('many', 'only the access modes ReadWriteOnce and ReadWriteOncePod are supported')
        # Whose provisioner is slow, or not there, is seen to be meant for a node.
        self.apply({'apiVersion': 'storage.k8s.io/v1', 'kind': 'StorageClass', 'metadata': {'name': 'slow'},
                    'provisioner': 'example.com/disks', 'volumeBindingMode': 'WaitForFirstConsumer'},
                   claim('external', storageClassName='slow'), pod('meant', 'true', **uses('external')))
        self.addCleanup(self.node.api, 'DELETE', '/apis/storage.k8s.io/v1/storageclasses/slow')
        node = self.get('nodes')['items'][0]['metadata']['name']
        self.wait_pod('meant', lambda p: p['status'].get('nominatedNodeName') == node, 10)
        # Without a scheduler the node waits, and says so.
        self.apply(claim('later', storageClassName=''), pod('pinned', 'sleep 100000', nodeName=node, **uses('later')))
        self.wait_event('pinned', 'FailedMount: Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to '
                                  f'process volumes=[data]: error processing PVC {self.ns}/later: PVC is not bound')
        self.addCleanup(self.node.api, 'DELETE', '/api/v1/persistentvolumes/for-later')
        (self.node.dir / 'later').mkdir()
        self.apply(volume('for-later', storageClassName='', hostPath={'path': str(self.node.dir / 'later')},
                          claimRef={'namespace': self.ns, 'name': 'later'}))
        self.wait_running('pinned')
        # A class without allowVolumeExpansion does not grow.
        refused = self.kubectl('patch', 'pvc', 'later', '-p', '{"spec":{"resources":{"requests":{"storage":"1Gi"}}}}')
        self.assertIn('only dynamically provisioned pvc can be resized', refused.stderr)

    def test_a_generic_ephemeral_volume(self):
        template = {'spec': claim('x')['spec']}
        self.apply(pod('web', 'echo x > /data/f; sleep 100000', volumes=[{'name': 'scratch', 'ephemeral': {'volumeClaimTemplate': template}}],
                       volumeMounts=[{'name': 'scratch', 'mountPath': '/data'}], securityContext={'runAsUser': 1000}))
        self.wait_running('web')
        made = self.peek('persistentvolumeclaims', 'web-scratch')
        self.assertEqual('web', made['metadata']['ownerReferences'][0]['name'])
        directory = self.directory_of('web-scratch')
        self.wait(lambda: (directory / 'f').stat().st_uid == 1000)
        self.k('delete', 'pod', 'web', '--timeout=30s')
        self.wait_gone('persistentvolumeclaims', 'web-scratch')
        self.wait_volume_gone(made['spec']['volumeName'])
        self.assertFalse(directory.exists())

    def test_a_local_volume_gets_the_pods_group(self):
        path = self.node.dir / 'local'
        (path / 'sub').mkdir(parents=True)
        (path / 'sub/file').write_text('x\n')
        node = self.get('nodes')['items'][0]['metadata']['labels']['kubernetes.io/hostname']
        terms = [{'matchExpressions': [{'key': 'kubernetes.io/hostname', 'operator': 'In', 'values': [node]}]}]
        self.addCleanup(self.node.api, 'DELETE', '/api/v1/persistentvolumes/local')
        self.apply(volume('local', storageClassName='by-hand', local={'path': str(path)},
                          nodeAffinity={'required': {'nodeSelectorTerms': terms}}),
                   claim('data', storageClassName='by-hand'))
        self.assertEqual('local', self.wait_bound('data'))
        self.apply(pod('web', 'id -G; sleep 100000', **uses('data'), securityContext={'runAsUser': 1000}) |
                   {'metadata': {'name': 'web'}})
        self.wait_running('web')
        self.k('delete', 'pod', 'web', '--timeout=30s')
        grouped = pod('grouped', 'cat /data/sub/file; echo y >> /data/sub/file; sleep 100000', **uses('data'))
        grouped['spec']['securityContext'] = {'fsGroup': 4321, 'runAsUser': 1000}
        self.apply(grouped)
        self.wait_running('grouped')
        self.wait(lambda: (path / 'sub/file').read_text() == 'x\ny\n')
        self.assertEqual(4321, os.stat(path / 'sub').st_gid)
        self.assertEqual(0o2000, os.stat(path / 'sub').st_mode & 0o2000)


class AnotherDisk(NodeTest):
    flags = ('--disable', 'dns')

    def test_the_data_directory_moves_behind_a_link(self):
        """Volumes keep their paths; the directory that these lead to may be on another disk tomorrow."""
        self.apply(claim('data'), pod('one', 'echo one > /data/log; sleep 100000', **uses('data')))
        self.wait_running('one')
        self.k('delete', 'pod', 'one', '--timeout=30s')
        for disk in ('disk1', 'disk2'):
            self.node.stop()
            data = self.node.dir / 'data'
            data.resolve().rename(self.node.dir / disk)
            data.unlink(missing_ok=True)
            data.symlink_to(self.node.dir / disk)
            self.node.start()
            wait_for(self.node.node_ready, 20)
            self.apply(pod('next', 'cat /data/log; sleep 100000', **uses('data')))
            self.wait_running('next')
            self.assertEqual('one\n', self.k('logs', 'next'))
            self.k('delete', 'pod', 'next', '--timeout=30s')
        self.assertEqual(1, len(list((self.node.dir / 'disk2/storage').iterdir())))
        self.k('delete', 'pvc', 'data', '--timeout=30s')
        self.wait(lambda: not list((self.node.dir / 'disk2/storage').iterdir()), message='the directory is gone')
        wait_for(lambda: not self.get('pv')['items'], 10)


class Disabled(NodeTest):
    flags = ('--disable', 'dns,local-storage')
    import_images = False

    def test_no_class_is_made(self):
        self.apply(claim('data'))
        self.wait_event('data', 'no persistent volumes available for this claim and no storage class is set')
        self.assertEqual([], self.get('storageclasses')['items'])
        # A default class that comes later is the claim's, too.
        manifest = pathlib.Path(__file__).resolve().parents[2] / 'manifests/addons/local-storage.yaml'
        self.k('apply', '-f', manifest)
        self.wait(lambda: self.peek('persistentvolumeclaims', 'data')['spec'].get('storageClassName') == 'local-path')


if __name__ == '__main__':
    unittest.main()
