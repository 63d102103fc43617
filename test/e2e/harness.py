"""A brume server in a network namespace of its own, with a registry and kubectl beside it: what the end-to-end tests run on.

Nothing here reaches the machine's network: the namespace has a loopback device and what brume makes, and no route out.
"""
import atexit
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BRUME = pathlib.Path(os.environ.get('BRUME', ROOT / 'build/brume'))
with BRUME.open('rb') as binary:
    IS_STATIC = b'ld-linux' not in binary.read(4096)
# The cluster's DNS is a pod whose image is the server's binary and nothing else; a sanitized one needs its libraries.
needs_dns = unittest.skipUnless(IS_STATIC, 'the server is not a static binary, so the cluster has no DNS')


class CommandFailed(Exception):
    def __init__(self, args, result):
        super().__init__(f'{args} exited with {result.returncode}\nstdout: {result.stdout}\nstderr: {result.stderr}')
        self.result = result


def wait_for(what, seconds=30.0, interval=0.05, message=''):
    """Calls what() until it gives something true; its last value. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        error = None
        try:
            value = what()
            if value:
                return value
        except (CommandFailed, OSError, ValueError, KeyError, IndexError) as caught:
            error = caught
        if time.monotonic() > deadline:
            raise AssertionError(f'not within {seconds} s: {message or what} (last error: {error})')
        time.sleep(interval)


def newest_kubectl():
    """The newest kubectl beside the one on PATH (kubectl.1.33 ...), or that one."""
    on_path = shutil.which('kubectl')
    if not on_path:
        raise RuntimeError('no kubectl on PATH')
    beside = pathlib.Path(os.path.realpath(on_path)).parent
    versions = sorted(beside.glob('kubectl.1.*'), key=lambda p: [int(x) for x in p.name.split('.')[1:]])
    return str(versions[-1]) if versions else on_path


def needs_kubectl(minor):
    """For tests of what kubectl 1.MINOR brought: Debian 12 has 1.20 and nothing else."""
    client = json.loads(subprocess.run([newest_kubectl(), 'version', '--client', '-o', 'json'], stdout=subprocess.PIPE, check=True).stdout)
    found = int(re.match(r'\d+', client['clientVersion']['minor']).group())
    return unittest.skipUnless(found >= minor, f'kubectl 1.{found} is older than 1.{minor}')


class Answer:
    """What the API answered: status (0 when it did not), headers in lower case, text."""

    def __init__(self, result):
        self.text = result.stdout.decode(errors='replace')
        blocks = re.split(r'\r\n\r\n', result.stderr.decode(errors='replace'))
        heads = [block for block in blocks if block.startswith('HTTP/')]
        lines = heads[-1].split('\r\n') if heads else ['HTTP/1.1 0 ' + blocks[0]]
        self.status = int(lines[0].split()[1])
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(':') for line in lines[1:])}
        self.error = '' if heads else blocks[0]

    def json(self):
        return json.loads(self.text)

    def __repr__(self):
        return f'<{self.status} {self.error}{self.text[:600]}>'


class Node:
    """One server. Directories are its own, so several may run one after the other or at once."""

    def __init__(self, name='brume-e2e', flags=()):
        self.name = f'{name}-{os.getpid()}'
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=self.name + '-'))
        self.flags = list(flags)
        self.process = None
        self.kubeconfig = self.dir / 'kubeconfig.yaml'
        self.log = self.dir / 'server.log'
        self.kubectl_binary = newest_kubectl()
        self.registries = []
        self.variables = {}  # of the environment of what is started
        subprocess.run(['ip', 'netns', 'add', self.name], check=True)
        subprocess.run(['ip', '-n', self.name, 'link', 'set', 'lo', 'up'], check=True)
        atexit.register(self.destroy)

    # Processes -------------------------------------------------------------------------------------------------------

    def environment(self):
        """HOME is the node's own, so that kubectl's caches of one server are not taken for another's."""
        return {**os.environ, 'KUBECONFIG': str(self.kubeconfig), 'HOME': str(self.dir), **self.variables}

    def run(self, *args, check=True, input=None, timeout=120, env=None):
        """Runs a command in the node's network namespace."""
        result = subprocess.run(['nsenter', '--net=/run/netns/' + self.name, *map(str, args)], capture_output=True, text=True, input=input,
                                timeout=timeout, env={**self.environment(), **(env or {})})
        if check and result.returncode != 0:
            raise CommandFailed(args, result)
        return result

    def popen(self, *args, **kwargs):
        return subprocess.Popen(['nsenter', '--net=/run/netns/' + self.name, *map(str, args)],
                                env=self.environment(), **kwargs)

    def start(self, ready=True):
        with open(self.log, 'ab') as log:
            self.process = self.popen(BRUME, 'server', '--data-dir', self.dir / 'data', '--state-dir', self.dir / 'run', '--log-dir',
                                      self.dir / 'logs', '--write-kubeconfig', self.kubeconfig, '--config', '/dev/null',
                                      *self.flags, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if ready:
            wait_for(self.is_ready, 20, 0.02, 'the server is ready; log: ' + str(self.log))

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError('the server has ended:\n' + self.log.read_text()[-3000:])
        return self.kubeconfig.exists() and self.kubectl('get', '--raw', '/readyz', check=False).returncode == 0

    def stop(self, how=signal.SIGTERM, timeout=30):
        if self.process is None:
            return None
        self.process.send_signal(how)
        code = self.process.wait(timeout)
        self.process = None
        return code

    def destroy(self):
        atexit.unregister(self.destroy)
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGKILL)
        self.cleanup()
        for registry in self.registries:
            registry.kill()
            registry.wait()
        subprocess.run(['ip', 'netns', 'delete', self.name], check=False)
        found = self.sanitizer_findings()
        if os.environ.get('BRUME_E2E_KEEP') is None and not found:
            shutil.rmtree(self.dir, ignore_errors=True)
        if found:
            raise AssertionError('a sanitizer found something; log: ' + str(self.log) + '\n' + '\n'.join(found))

    def sanitizer_findings(self):
        """The first line of each finding; a sanitized server (BRUME) writes them to its log."""
        lines = self.log.read_text(errors='replace').splitlines() if self.log.exists() else []
        return [line for line in lines if re.search(r': runtime error: |ERROR: \w+Sanitizer', line)]

    def cleanup(self, check=False):
        return self.run(BRUME, 'cleanup', '--data-dir', self.dir / 'data', '--state-dir', self.dir / 'run', '--log-dir',
                        self.dir / 'logs', check=check)

    # Clients ---------------------------------------------------------------------------------------------------------

    def kubectl(self, *args, check=True, input=None, timeout=120):
        return self.run(self.kubectl_binary, *args, check=check, input=input, timeout=timeout)

    def apply(self, *objects):
        """Objects, or texts of YAML. One list: kubectl 1.20 takes what follows a JSON document for JSON too."""
        if all(isinstance(o, dict) for o in objects):
            objects = [json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': objects})]
        return self.kubectl('apply', '-f', '-', input='\n---\n'.join(o if isinstance(o, str) else json.dumps(o) for o in objects))

    def get(self, *args):
        """kubectl get ... -o json, parsed."""
        return json.loads(self.kubectl('get', *args, '-o', 'json').stdout)

    def pods(self, selector, ns='default'):
        return self.get('pods', '-n', ns, '-l', selector)['items']

    def wait_pods_ready(self, selector, count, seconds=30, ns='default'):
        def ready():
            pods = [p for p in self.pods(selector, ns) if 'deletionTimestamp' not in p['metadata']]
            good = [p for p in pods if any(c['type'] == 'Ready' and c['status'] == 'True' for c in p['status'].get('conditions', []))]
            return good if len(pods) == count == len(good) else None
        return wait_for(ready, seconds, message=f'{count} ready pods of {selector}')

    def node_ready(self):
        nodes = self.get('nodes')['items']
        return nodes and all(any(c['type'] == 'Ready' and c['status'] == 'True' for c in n['status']['conditions']) for n in nodes)

    def credentials(self):
        """The admin's certificate files, for curl: taken out of the kubeconfig once."""
        if not (self.dir / 'admin.crt').exists():
            text = self.kubeconfig.read_text()
            for key, file in (('certificate-authority-data', 'ca.crt'), ('client-key-data', 'admin.key'), ('client-certificate-data', 'admin.crt')):
                (self.dir / file).write_bytes(base64.b64decode(re.search(key + r': *"?([A-Za-z0-9+/=]+)', text).group(1)))
        return ['--cert', self.dir / 'admin.crt', '--key', self.dir / 'admin.key']

    def api(self, method, path, body=None, content_type='application/json', headers=(), token=None, timeout=30, address='127.0.0.1:6443'):
        """One raw API request as the admin, or with `token` (an empty one: anonymous). Body: text, bytes, or anything for JSON."""
        credentials = self.credentials() if token is None else (['-H', 'Authorization: Bearer ' + token] if token else [])
        command = ['curl', '-sS', '--max-time', str(timeout), '--cacert', self.dir / 'ca.crt', '-D', '/dev/stderr', '-X', method, *credentials]
        if method == 'HEAD':
            command = [*command[:-2 - len(credentials)], '-I', *credentials]
        for header in headers:
            command += ['-H', header]
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
            command += ['-H', 'Content-Type: ' + content_type, '-H', 'Expect:', '--data-binary', '@-']
        result = subprocess.run(['nsenter', '--net=/run/netns/' + self.name, *map(str, command), f'https://{address}{path}'],
                                capture_output=True, input=data, timeout=timeout + 10)
        return Answer(result)

    # Images ----------------------------------------------------------------------------------------------------------

    def make_image(self, name, *args):
        path = self.dir / (name.replace('/', '_').replace(':', '_') + '.tar')
        subprocess.run([ROOT / 'scripts/make-image.py', name, path, *args], check=True)
        return path

    def import_image(self, name, *args):
        self.run(BRUME, 'image', 'import', self.make_image(name, *args))

    def start_registry(self, port=5000, htpasswd=None, tls=None):
        """A docker-registry (Debian's) on 127.0.0.1:port of the namespace. `htpasswd`: lines of users and bcrypt hashes; `tls`:
        files of certificate and key, else it is plain http."""
        config = self.dir / f'registry-{port}.yml'
        text = (f'version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {self.dir}/registry-{port}}}\n'
                f'http:\n  addr: 127.0.0.1:{port}\n')
        if htpasswd:
            (self.dir / f'htpasswd-{port}').write_text(htpasswd)
            text += f'auth:\n  htpasswd: {{realm: brume-test, path: {self.dir}/htpasswd-{port}}}\n'
        if tls:
            text = text.replace(f'  addr: 127.0.0.1:{port}\n', f'  addr: 127.0.0.1:{port}\n  tls: {{certificate: {tls[0]}, key: {tls[1]}}}\n')
        config.write_text(text)
        self.registries.append(self.popen('docker-registry', 'serve', config, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_for(lambda: self.run('curl', '-sk', f'http{"s" if tls else ""}://127.0.0.1:{port}/v2/', check=False).returncode == 0, 10, message='registry')
        return f'127.0.0.1:{port}'

    def push_image(self, name, *args, copy=()):
        """Makes an image and pushes it; `copy`: flags of skopeo copy."""
        archive = self.make_image(name, *args)
        self.run('skopeo', 'copy', '-q', '--insecure-policy', '--dest-tls-verify=false', *copy, f'docker-archive:{archive}', f'docker://{name}')


IMAGE = 'localhost/hello:1.0'
IMAGE_NEXT = 'localhost/hello:1.1'


def pod(name, *command, labels=None, **spec):
    """A pod of one busybox container "main" that runs `command` (a shell script if it is one string)."""
    container = {'name': 'main', 'image': IMAGE, 'command': ['sh', '-c', command[0]] if len(command) == 1 else list(command)}
    for key in ('env', 'envFrom', 'args', 'ports', 'resources', 'volumeMounts', 'workingDir', 'securityContext', 'lifecycle', 'image',
                'readinessProbe', 'livenessProbe', 'startupProbe', 'imagePullPolicy', 'terminationMessagePath', 'stdin', 'tty',
                'terminationMessagePolicy', 'stdinOnce', 'resizePolicy'):
        if key in spec:
            container[key] = spec.pop(key)
    return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name, 'labels': labels or {'app': name}},
            'spec': {'terminationGracePeriodSeconds': 1, 'containers': [container], **spec}}


def deployment(name, *command, replicas=1, labels=None, container=None, spec=None, **pod_spec):
    """A Deployment whose pods are those of pod(); `container` and `spec` are laid over the container and the Deployment's spec."""
    template = pod(name, *(command or ('sleep 100000',)), labels=labels, **pod_spec)
    template['spec']['containers'][0].update(container or {})
    return {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'metadata': {'name': name},
            'spec': {'replicas': replicas, 'selector': {'matchLabels': template['metadata']['labels']},
                     'template': {'metadata': {'labels': template['metadata']['labels']}, 'spec': template['spec']}, **(spec or {})}}


def service(name, selector, *ports, **spec):
    return {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': name},
            'spec': {**({'selector': selector} if selector else {}), 'ports': list(ports), **spec}}


def config_map(name, **data):
    return {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name}, 'data': data}


class NodeTest(unittest.TestCase):
    """Tests that share one server. Each test gets a namespace of its own, self.ns, that goes with it."""
    flags = ()
    import_images = True
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.node = Node('brume-' + cls.__name__.lower(), cls.flags)
        cls.addClassCleanup(cls.node.destroy)
        cls.node.start()
        if cls.import_images:
            for image, version in ((IMAGE, '1.0'), (IMAGE_NEXT, '1.1')):
                cls.node.import_image(image, '--env', 'HELLO_VERSION=' + version)
        wait_for(cls.node.node_ready, 20, message='the node is ready')

    def setUp(self):
        self.ns = re.sub('[^a-z0-9]+', '-', self._testMethodName.lower()).removeprefix('test-')[:60].strip('-')
        self.make_namespace(self.ns)

    def make_namespace(self, name):
        self.k('create', 'namespace', name)
        self.addCleanup(self.node.api, 'DELETE', '/api/v1/namespaces/' + name)
        wait_for(lambda: self.node.api('GET', f'/api/v1/namespaces/{name}/serviceaccounts/default').status == 200, 10)

    # Short hands -----------------------------------------------------------------------------------------------------

    def k(self, *args, check=True, input=None, timeout=120):
        """kubectl in this test's namespace; what it printed."""
        result = self.kubectl(*args, check=check, input=input, timeout=timeout)
        return result.stdout if check else result

    def kubectl(self, *args, check=False, input=None, timeout=120):
        return self.node.kubectl('-n', self.ns, *args, check=check, input=input, timeout=timeout)

    def apply(self, *objects):
        return self.k('apply', '-f', '-', input=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': objects}))

    def get(self, *args):
        return json.loads(self.k('get', *args, '-o', 'json'))

    def peek(self, plural, name, group='api/v1'):
        """An object by a raw GET, which is cheaper than kubectl; KeyError when there is none."""
        answer = self.node.api('GET', f'/{group}/namespaces/{self.ns}/{plural}/{name}')
        if answer.status != 200:
            raise KeyError(f'{plural}/{name}: {answer}')
        return answer.json()

    def wait(self, what, seconds=30, message=''):
        return wait_for(what, seconds, message=message)

    def wait_pod(self, name, test, seconds=30, message=''):
        """Waits until test(pod) holds; the pod."""
        last = {}

        def look():
            last.update(self.peek('pods', name))
            return last if test(last) else None
        try:
            return wait_for(look, seconds, message=message or 'pod ' + name)
        except AssertionError as error:
            raise AssertionError(f'{error}\n{json.dumps(last.get("status"), indent=1)}\n{self.events(name)}') from None

    def wait_running(self, name, seconds=30):
        return self.wait_pod(name, is_ready, seconds, f'pod {name} is ready')

    def wait_phase(self, name, phase, seconds=30):
        return self.wait_pod(name, lambda p: p['status'].get('phase') == phase, seconds, f'pod {name} is {phase}')

    def wait_gone(self, plural, name, group='api/v1', seconds=30):
        return wait_for(lambda: self.node.api('GET', f'/{group}/namespaces/{self.ns}/{plural}/{name}').status == 404, seconds,
                        message=f'{plural}/{name} is gone')

    def rollout(self, name, seconds=60):
        """Until it is done and what it replaced is gone: kubectl 1.20 takes a pod that ends for one of the Deployment's."""
        out = self.k('rollout', 'status', name, f'--timeout={seconds}s')
        self.wait(lambda: not any('deletionTimestamp' in pod['metadata'] for pod in self.get('pods')['items']), 30)
        return out

    def events(self, name=None):
        """"Reason: message" of this namespace's events, or of those about an object."""
        items = self.node.api('GET', f'/api/v1/namespaces/{self.ns}/events').json()['items']
        return [f"{e['reason']}: {e.get('message', '')}" for e in items if name is None or e['involvedObject']['name'] == name]

    def wait_event(self, name, text, seconds=20):
        return wait_for(lambda: [e for e in self.events(name) if text in e], seconds, message=f'event "{text}" on {name}')

    def sh(self, name, script, check=True):
        """A shell script in a pod's container; what it printed."""
        result = self.kubectl('exec', name, '--', 'sh', '-c', script)
        if check and result.returncode != 0:
            raise CommandFailed(script, result)
        return result.stdout

    def run_pod(self, name, *command, **spec):
        """Runs a pod to its end; its log."""
        spec.setdefault('restartPolicy', 'Never')
        self.apply(pod(name, *command, **spec))
        self.wait_pod(name, lambda p: p['status'].get('phase') in ('Succeeded', 'Failed'), message=f'pod {name} ends')
        return self.k('logs', name)


def is_ready(pod):
    return any(c['type'] == 'Ready' and c['status'] == 'True' for c in pod['status'].get('conditions', []))
