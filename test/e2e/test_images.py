"""Images: pulled from registries in all their shapes, imported from archives, refused with the true reason."""
import base64
import hashlib
import json
import pathlib
import sys
import unittest

from harness import BRUME, Node, NodeTest, pod, wait_for

USER, PASSWORD = 'puller', 's3cret'
HTPASSWD = USER + ':$2b$05$XtWpHJcsdd0a1Uc49ixRCey.JEGG9HiJfo3Unh9ejd7MWVjMW/X7O\n'  # bcrypt of PASSWORD
DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json'
DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'


class Images(NodeTest):
    import_images = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = cls.node.start_registry(5000)
        cls.push('app:1', 'one')

    @classmethod
    def push(cls, name, version, **more):
        """An image with $V, and a layer that no other image has."""
        mark = cls.node.dir / 'mark'
        mark.write_text(name + version)
        cls.node.push_image(f'{cls.registry}/{name}', '--env', 'V=' + version, '--file', f'{mark}=/mark', **more)

    def manifest(self, name, reference, kind=DOCKER_MANIFEST):
        """A manifest's bytes and digest, from the registry."""
        body = self.node.run('curl', '-sf', '-H', 'Accept: ' + kind, f'http://{self.registry}/v2/{name}/manifests/{reference}').stdout
        return body, 'sha256:' + hashlib.sha256(body.encode()).hexdigest()

    def version_in(self, pod_name, image, **spec):
        return self.run_pod(pod_name, 'echo $V', image=image, **spec).strip()

    @staticmethod
    def waiting(found):
        return (found['status'].get('containerStatuses') or [{}])[0].get('state', {}).get('waiting', {})

    def wait_pull_error(self, name, reason='ErrImagePull'):
        return self.wait_pod(name, lambda p: self.waiting(p).get('reason') in (reason, 'ImagePullBackOff'))

    def test_by_tag_and_by_digest(self):
        _, digest = self.manifest('app', '1')
        self.assertEqual('one', self.version_in('tag', f'{self.registry}/app:1'))
        self.assertEqual('one', self.version_in('digest', f'{self.registry}/app@{digest}'))
        self.assertRegex(self.peek('pods', 'tag')['status']['containerStatuses'][0]['imageID'], r'sha256:[0-9a-f]{64}$')
        self.wait_event('tag', f'Pulling: Pulling image "{self.registry}/app:1"')
        self.assertRegex(self.wait_event('tag', 'Pulled: Successfully pulled image')[0], r' in \d+(\.\d+)?m?s \(.*including waiting\)\. Image size: \d+ bytes\.')

    def test_manifest_list(self):
        self.push('multi:amd64', 'for-amd64')
        self.push('multi:arm64', 'for-arm64')
        entries = []
        for architecture in ('arm64', 'amd64'):
            body, digest = self.manifest('multi', architecture)
            entries.append({'mediaType': DOCKER_MANIFEST, 'size': len(body), 'digest': digest, 'platform': {'os': 'linux', 'architecture': architecture}})
        for tag, some in (('both', entries), ('other', entries[:1])):
            body = json.dumps({'schemaVersion': 2, 'mediaType': DOCKER_LIST, 'manifests': some})
            self.node.run('curl', '-sf', '-X', 'PUT', '-H', 'Content-Type: ' + DOCKER_LIST, '--data-binary', '@-',
                          f'http://{self.registry}/v2/multi/manifests/{tag}', input=body)
        here = {'x86_64': 'amd64', 'aarch64': 'arm64'}[self.node.run('uname', '-m').stdout.strip()]
        self.assertEqual('for-' + here, self.version_in('both', f'{self.registry}/multi:both'))
        if here == 'amd64':
            self.apply(pod('other', 'true', image=f'{self.registry}/multi:other'))
            self.wait_event('other', 'no match for platform')

    def test_zstd_and_oci(self):
        self.push('oci:zstd', 'zstd', copy=('--format', 'oci', '--dest-compress-format', 'zstd'))
        body, _ = self.manifest('oci', 'zstd', OCI_MANIFEST)
        self.assertIn('zstd', json.loads(body)['layers'][0]['mediaType'])
        self.assertEqual('zstd', self.version_in('zstd', f'{self.registry}/oci:zstd'))
        self.push('oci:gzip', 'gzip', copy=('--format', 'oci', '--dest-compress-format', 'gzip'))
        self.assertEqual('gzip', self.version_in('gzip', f'{self.registry}/oci:gzip'))

    def test_pull_policies(self):
        self.push('moving:1', 'old')
        image = f'{self.registry}/moving:1'
        self.assertEqual('old', self.version_in('first', image))
        self.push('moving:1', 'new')
        self.assertEqual('old', self.version_in('present', image, imagePullPolicy='IfNotPresent'))
        self.wait_event('present', 'already present on machine')
        self.assertEqual('new', self.version_in('always', image, imagePullPolicy='Always'))
        self.apply(pod('never', 'true', image=f'{self.registry}/absent:1', imagePullPolicy='Never'))
        found = self.wait_pod('never', lambda p: self.waiting(p).get('reason') == 'ErrImageNeverPull')
        self.assertIn('is not present with pull policy of Never', self.waiting(found)['message'])
        self.apply(pod('latest', 'true', image=f'{self.registry}/moving'))
        self.assertEqual('Always', self.peek('pods', 'latest')['spec']['containers'][0]['imagePullPolicy'])

    def test_what_is_not_there(self):
        self.apply(pod('tag', 'true', image=f'{self.registry}/app:none'), pod('name', 'true', image=f'{self.registry}/nothing:1'))
        for name, text in (('tag', 'app:none'), ('name', 'nothing:1')):
            self.wait_pull_error(name)
            self.assertRegex(self.wait_event(name, 'Failed to pull image')[0], f'{text}.*not found')
            self.wait_pod(name, lambda p: self.waiting(p).get('reason') == 'ImagePullBackOff')
            self.wait_event(name, 'BackOff: Back-off pulling image')
        # Once it is there, the pod starts by itself.
        self.push('app:none', 'late')
        self.wait_pod('tag', lambda p: p['status'].get('containerStatuses', [{}])[0].get('imageID'), 60)

    def test_a_damaged_layer_is_refused(self):
        self.push('damaged:1', 'x', copy=('--dest-compress-format', 'gzip', '--dest-compress-level', '3'))
        body, _ = self.manifest('damaged', '1')
        digest = json.loads(body)['layers'][0]['digest'].removeprefix('sha256:')
        blob = self.node.dir / 'registry-5000/docker/registry/v2/blobs/sha256' / digest[:2] / digest / 'data'
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 0xff
        blob.write_bytes(data)
        self.apply(pod('victim', 'true', image=f'{self.registry}/damaged:1'))
        self.assertRegex(self.wait_event('victim', 'Failed to pull image')[0], 'digest|sha256')

    def test_private_registry(self):
        private = self.node.start_registry(5001, HTPASSWD)
        self.node.push_image(f'{private}/secret:1', '--env', 'V=private', copy=('--dest-creds', f'{USER}:{PASSWORD}'))
        image = f'{private}/secret:1'
        self.apply(pod('without', 'true', image=image))
        self.wait_pull_error('without')
        self.assertRegex(self.wait_event('without', 'Failed to pull image')[0], '401|unauthorized|Unauthorized|user name and password')
        self.k('create', 'secret', 'docker-registry', 'wrong', '--docker-server=' + private, '--docker-username=' + USER, '--docker-password=no')
        self.apply(pod('wrong', 'true', image=image, imagePullSecrets=[{'name': 'wrong'}]))
        self.wait_pull_error('wrong')
        self.k('create', 'secret', 'docker-registry', 'right', '--docker-server=' + private, '--docker-username=' + USER, '--docker-password=' + PASSWORD)
        self.assertEqual('private', self.version_in('with', image, imagePullSecrets=[{'name': 'right'}]))
        # By the service account, too.
        self.k('patch', 'serviceaccount', 'default', '-p', '{"imagePullSecrets":[{"name":"right"}]}')
        self.assertEqual('private', self.version_in('by-account', image, imagePullPolicy='Always'))
        # What one pod may pull is not given to all: Always asks the registry each time.
        self.assertEqual([{'name': 'right'}], self.peek('pods', 'by-account')['spec']['imagePullSecrets'])

    def test_config_of_the_image(self):
        self.node.push_image(f'{self.registry}/config:1', '--env', 'V=image', '--env', 'W=kept', '--cmd=sh', '--cmd=-c', '--cmd', 'echo $V $W; id -u', '--user', '1000')
        manifest = pod('config', 'x', image=f'{self.registry}/config:1', env=[{'name': 'V', 'value': 'pod'}], restartPolicy='Never')
        del manifest['spec']['containers'][0]['command']
        self.apply(manifest)
        self.wait_phase('config', 'Succeeded')
        self.assertEqual('pod kept\n1000\n', self.k('logs', 'config'))

    def test_commands_and_archives(self):
        archive = self.node.make_image('localhost/imported:1', '--env', 'V=docker')
        oci = self.node.dir / 'oci.tar'
        self.node.run('skopeo', 'copy', '-q', '--insecure-policy', f'docker-archive:{archive}', f'oci-archive:{oci}:localhost/imported:oci')
        self.node.run(BRUME, 'image', 'import', archive)
        self.node.run(BRUME, 'image', 'import', oci)
        self.node.run(BRUME, 'image', 'pull', f'{self.registry}/app:1')
        listed = self.node.run(BRUME, 'image', 'list').stdout
        for name in ('localhost/imported:1', 'localhost/imported:oci', f'{self.registry}/app:1'):
            self.assertIn(name, listed)
        self.assertEqual('docker', self.version_in('imported', 'localhost/imported:1'))
        self.assertEqual('docker', self.version_in('oci', 'localhost/imported:oci', imagePullPolicy='Never'))
        self.k('delete', 'pod', '--all')
        self.node.run(BRUME, 'image', 'remove', 'localhost/imported:1')
        self.assertNotIn('localhost/imported:1', self.node.run(BRUME, 'image', 'list').stdout)
        missing = self.node.run(BRUME, 'image', 'remove', 'localhost/imported:1', check=False)
        self.assertNotEqual(0, missing.returncode)
        bad = self.node.run(BRUME, 'image', 'import', '/etc/passwd', check=False)
        self.assertNotEqual(0, bad.returncode)
        self.assertEqual(1, len(bad.stderr.strip().splitlines()), bad.stderr)


class Registries(NodeTest):
    """What --private-registry says: mirrors with rewritten names and credentials, a CA of one's own."""
    import_images = False

    @classmethod
    def setUpClass(cls):
        cls.node = Node('brume-registries')
        cls.addClassCleanup(cls.node.destroy)
        directory = cls.node.dir
        for name in ('known', 'unknown'):
            cls.node.run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
                         '/CN=' + name, '-addext', 'subjectAltName=IP:127.0.0.1,DNS:inside.invalid', '-keyout', directory / f'{name}.key', '-out', directory / f'{name}.crt')
        cls.node.start_registry(5000, HTPASSWD)
        cls.node.start_registry(5001, tls=(directory / 'known.crt', directory / 'known.key'))
        cls.node.start_registry(5002, tls=(directory / 'unknown.crt', directory / 'unknown.key'))
        (directory / 'registries.yaml').write_text(json.dumps({
            'mirrors': {'registry.invalid': {'endpoint': ['http://127.0.0.1:9', 'http://127.0.0.1:5000/v2'],
                                             'rewrite': {'^team/(.*)': 'mirrored/$1'}}},
            'configs': {'127.0.0.1:5000': {'auth': {'username': USER, 'password': PASSWORD}},
                        '127.0.0.1:5001': {'tls': {'ca_file': str(directory / 'known.crt')}},
                        'inside.invalid:5001': {'tls': {'ca_file': str(directory / 'known.crt')}}}}))
        cls.proxy_log = directory / 'proxy.log'
        with open(cls.proxy_log, 'wb') as log:
            proxy = cls.node.popen(sys.executable, pathlib.Path(__file__).with_name('connect_proxy.py'), 3128, 'ann:secret', stdout=log, stderr=log)
        cls.addClassCleanup(proxy.wait)
        cls.addClassCleanup(proxy.kill)
        cls.node.variables = {'HTTPS_PROXY': 'http://ann:secret@127.0.0.1:3128', 'NO_PROXY': 'direct.invalid'}
        cls.node.flags = ['--private-registry', directory / 'registries.yaml', '--disable', 'dns']
        cls.node.start()
        wait_for(cls.node.node_ready, 20, message='the node is ready')

    def test_a_mirror_with_credentials(self):
        self.node.push_image('127.0.0.1:5000/mirrored/app:1', '--env', 'V=mirrored', copy=('--dest-creds', f'{USER}:{PASSWORD}'))
        self.assertEqual('mirrored\n', self.run_pod('app', 'echo $V', image='registry.invalid/team/app:1'))
        # Under the name that it was asked by, and for the command, too.
        self.assertIn('registry.invalid/team/app:1', self.node.run(BRUME, 'image', 'list').stdout)
        self.node.run(BRUME, 'image', 'pull', '127.0.0.1:5000/mirrored/app:1')

    def test_a_ca_of_its_own(self):
        for port in (5001, 5002):
            self.node.push_image(f'127.0.0.1:{port}/tls:1', '--env', 'V=tls')
        self.assertEqual('tls\n', self.run_pod('known', 'echo $V', image='127.0.0.1:5001/tls:1'))
        self.apply(pod('unknown', 'true', image='127.0.0.1:5002/tls:1'))
        self.assertIn('certificate', self.wait_event('unknown', 'Failed to pull image')[0])

    def test_a_proxy(self):
        self.node.push_image('127.0.0.1:5001/proxied:1', '--env', 'V=proxied')
        self.assertEqual('proxied\n', self.run_pod('proxied', 'echo $V', image='inside.invalid:5001/proxied:1'))
        self.assertIn('CONNECT inside.invalid:5001', self.proxy_log.read_text())
        self.apply(pod('direct', 'true', image='direct.invalid:5001/proxied:1'))
        self.assertIn('direct.invalid', self.wait_event('direct', 'Failed to pull image')[0])
        self.assertNotIn('CONNECT direct.invalid', self.proxy_log.read_text())


if __name__ == '__main__':
    unittest.main()
