"""Pods: what a container sees, how it starts, fails and ends, and what kubectl tells of it."""
import base64
import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from harness import IMAGE, IMAGE_NEXT, NodeTest, config_map, deployment, is_ready, needs_kubectl, pod, service, wait_for


def container_status(found, index=0):
    return found['status']['containerStatuses'][index]


def terminal(test, *args, rows=33, columns=101):
    """A kubectl on a terminal of its own: (process, fd)."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    process = test.node.popen(test.node.kubectl_binary, '-n', test.ns, *args, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    test.addCleanup(os.close, leader)
    return process, leader


def read_until(fd, text, seconds=15):
    got, deadline = b'', time.monotonic() + seconds
    while text.encode() not in got:
        if time.monotonic() > deadline:
            raise AssertionError(f'not within {seconds} s: {text!r} in {got!r}')
        if select.select([fd], [], [], 0.2)[0]:
            try:
                part = os.read(fd, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                part = b''
            if not part:
                raise AssertionError(f'the terminal has ended before {text!r}: {got!r}')
            got += part
    return got.decode()


def grpc_health_answer(status):
    """What a gRPC health server sends (RFC 9113, 7541), as octal escapes for printf: settings, headers, the message, trailers."""
    def frame(kind, flags, stream, payload):
        return len(payload).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + payload
    headers = b'\x88\x0f\x10\x10application/grpc'
    message = b'\0\0\0\0\2\x08' + bytes([status])
    answer = frame(4, 0, 0, b'') + frame(1, 4, 1, headers) + frame(0, 0, 1, message) + frame(1, 5, 1, b'\0\x0bgrpc-status\x010')
    return ''.join(f'\\{byte:03o}' for byte in answer)


class Environment(NodeTest):
    """env, volumes and the other things that a container finds."""

    def test_env(self):
        self.apply(config_map('settings', colour='blue', shape='round'), config_map('more', A='1', B='2'),
                   {'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'keys'}, 'stringData': {'password': 's3cret'}})
        def field(name, path):
            return {'name': name, 'valueFrom': {'fieldRef': {'fieldPath': path}}}
        log = self.run_pod('env', 'env', labels={'app': 'env', 'tier': 'front'}, envFrom=[
            {'configMapRef': {'name': 'more'}}, {'prefix': 'P_', 'configMapRef': {'name': 'more'}},
            {'configMapRef': {'name': 'absent', 'optional': True}}],
            resources={'requests': {'cpu': '250m', 'memory': '16Mi'}, 'limits': {'cpu': '500m', 'memory': '32Mi'}},
            env=[{'name': 'A', 'value': 'own'}, {'name': 'TWO', 'value': '$(A)-$(B)-$(NONE)-$$(A)'},
                 {'name': 'COLOUR', 'valueFrom': {'configMapKeyRef': {'name': 'settings', 'key': 'colour'}}},
                 {'name': 'GONE', 'valueFrom': {'configMapKeyRef': {'name': 'settings', 'key': 'no', 'optional': True}}},
                 {'name': 'PASSWORD', 'valueFrom': {'secretKeyRef': {'name': 'keys', 'key': 'password'}}},
                 field('NAME', 'metadata.name'), field('NS', 'metadata.namespace'), field('TIER', "metadata.labels['tier']"),
                 field('IP', 'status.podIP'), field('HOST', 'status.hostIP'), field('NODE', 'spec.nodeName'),
                 field('SA', 'spec.serviceAccountName'), field('UID', 'metadata.uid'),
                 {'name': 'CPU', 'valueFrom': {'resourceFieldRef': {'resource': 'limits.cpu', 'divisor': '1m'}}},
                 {'name': 'CPUS', 'valueFrom': {'resourceFieldRef': {'resource': 'limits.cpu'}}},
                 {'name': 'MEMORY', 'valueFrom': {'resourceFieldRef': {'resource': 'requests.memory', 'divisor': '1Mi'}}}])
        got = dict(line.split('=', 1) for line in log.splitlines() if '=' in line)
        found = self.peek('pods', 'env')
        self.assertEqual({'A': 'own', 'B': '2', 'P_A': '1', 'P_B': '2', 'TWO': 'own-2-$(NONE)-$(A)', 'COLOUR': 'blue', 'PASSWORD': 's3cret',
                          'NAME': 'env', 'NS': self.ns, 'TIER': 'front', 'IP': found['status']['podIP'], 'HOST': found['status']['hostIP'],
                          'NODE': found['spec']['nodeName'], 'SA': 'default', 'UID': found['metadata']['uid'], 'CPU': '500', 'CPUS': '1',
                          'MEMORY': '16', 'HELLO_VERSION': '1.0', 'HOSTNAME': 'env', 'KUBERNETES_SERVICE_PORT': '443',
                          'KUBERNETES_SERVICE_HOST': '10.43.0.1'},
                         {k: got.get(k) for k in ('A', 'B', 'P_A', 'P_B', 'TWO', 'COLOUR', 'PASSWORD', 'NAME', 'NS', 'TIER', 'IP', 'HOST',
                                                  'NODE', 'SA', 'UID', 'CPU', 'CPUS', 'MEMORY', 'HELLO_VERSION', 'HOSTNAME',
                                                  'KUBERNETES_SERVICE_PORT', 'KUBERNETES_SERVICE_HOST')})
        self.assertNotIn('GONE', got)

    def test_env_from_a_file(self):
        def variable(key, **more):
            return {'name': key, 'valueFrom': {'fileKeyRef': {'volumeName': 'config', 'path': 'app/vars', 'key': key, **more}}}
        mounts = [{'name': 'config', 'mountPath': '/config'}]
        script = r"""mkdir /config/app; printf "A='one'\nB='two\nlines'\n" > /config/app/vars"""
        writer = {'name': 'writer', 'image': IMAGE, 'command': ['sh', '-c', script], 'volumeMounts': mounts}
        more = {'initContainers': [writer], 'volumes': [{'name': 'config', 'emptyDir': {}}], 'restartPolicy': 'Never'}
        self.apply(pod('reads', 'echo "$A/$B/${C-none}"', env=[variable('A'), variable('B'), variable('C', optional=True)], **more),
                   pod('lacks', 'true', env=[variable('C')], **more))
        self.wait_phase('reads', 'Succeeded')
        self.assertEqual('one/two\nlines/none\n', self.k('logs', 'reads'))
        found = self.wait_pod('lacks', lambda p: (container_status(p)['state'].get('waiting') or {}).get('reason') == 'CreateContainerConfigError')
        self.assertEqual('environment variable key "C" not found in file "app/vars"', container_status(found)['state']['waiting']['message'])

    def test_service_variables(self):
        self.apply(service('my-db', {'app': 'db'}, {'name': 'sql', 'port': 5432, 'protocol': 'TCP'}, clusterIP='10.43.77.7'))
        time.sleep(0.3)
        got = self.run_pod('vars', 'env')
        for line in ('MY_DB_SERVICE_HOST=10.43.77.7', 'MY_DB_SERVICE_PORT=5432', 'MY_DB_SERVICE_PORT_SQL=5432',
                     'MY_DB_PORT=tcp://10.43.77.7:5432', 'MY_DB_PORT_5432_TCP_ADDR=10.43.77.7'):
            self.assertIn(line + '\n', got)
        self.assertNotIn('MY_DB', self.run_pod('no-vars', 'env', enableServiceLinks=False))

    def test_a_missing_reference_waits_and_says_why(self):
        self.apply(pod('waits', 'echo $V; sleep 1000', env=[{'name': 'V', 'valueFrom': {'configMapKeyRef': {'name': 'later', 'key': 'v'}}}]))
        found = self.wait_pod('waits', lambda p: p['status'].get('containerStatuses') and
                              container_status(p)['state'].get('waiting', {}).get('reason') == 'CreateContainerConfigError')
        self.assertIn('configmap "later" not found', container_status(found)['state']['waiting']['message'])
        self.apply(config_map('later', v='now'))
        self.wait_running('waits', 60)
        self.assertEqual('now\n', self.k('logs', 'waits'))

    def test_command_args_dir_user(self):
        log = self.run_pod('who', 'sh', '-c', 'pwd; id; echo "$0" "$@"; cat /proc/self/status | grep -E "NoNewPrivs|Seccomp:|CapEff"; umask',
                           args=['$(GREETING)', 'b c', '$$(GREETING)'], env=[{'name': 'GREETING', 'value': 'hi'}], workingDir='/tmp',
                           securityContext={'runAsUser': 1000, 'runAsGroup': 3000, 'allowPrivilegeEscalation': False,
                                            'capabilities': {'drop': ['ALL']}})
        self.assertRegex(log, r'^/tmp\nuid=1000\(user\) gid=3000')
        self.assertIn('hi b c $(GREETING)\n', log)
        self.assertRegex(log, r'CapEff:\s+0{16}')
        self.assertRegex(log, r'NoNewPrivs:\s+1')
        self.assertRegex(self.run_pod('seccomp', 'grep -E "Seccomp:|CapEff" /proc/self/status'), r'CapEff:\s+00000000a80425fb\n(?s:.*)')

    def test_run_as_non_root(self):
        self.apply(pod('root', 'sleep 1000', securityContext={'runAsNonRoot': True}))
        found = self.wait_pod('root', lambda p: p['status'].get('containerStatuses') and
                              container_status(p)['state'].get('waiting', {}).get('reason') == 'CreateContainerConfigError')
        self.assertIn('runAsNonRoot', container_status(found)['state']['waiting']['message'])

    def test_fs_group_and_supplemental_groups(self):
        manifest = pod('groups', 'id -G; stat -c "%g %a" /data; touch /data/f; stat -c %g /data/f', securityContext={'runAsUser': 1000},
                       volumeMounts=[{'name': 'd', 'mountPath': '/data'}], volumes=[{'name': 'd', 'emptyDir': {}}], restartPolicy='Never')
        manifest['spec']['securityContext'] = {'fsGroup': 4000, 'supplementalGroups': [5000]}
        self.apply(manifest)
        self.wait_phase('groups', 'Succeeded')
        lines = self.k('logs', 'groups').splitlines()
        self.assertLessEqual({'4000', '5000'}, set(lines[0].split()))
        self.assertEqual('4000', lines[1].split()[0])
        self.assertEqual('4000', lines[2])
        user = container_status(self.peek('pods', 'groups'))['user']['linux']
        self.assertEqual(1000, user['uid'])
        self.assertEqual(sorted(map(int, lines[0].split())), user['supplementalGroups'])
        self.assertIn(user['gid'], user['supplementalGroups'])

    def test_read_only_root(self):
        log = self.run_pod('ro', 'touch /x; echo $?; touch /data/x; echo $?', securityContext={'readOnlyRootFilesystem': True},
                           volumeMounts=[{'name': 'd', 'mountPath': '/data'}], volumes=[{'name': 'd', 'emptyDir': {}}])
        self.assertTrue(log.endswith('1\n0\n'), log)

    def test_sysctls_host_aliases_hostname(self):
        manifest = pod('named', 'cat /etc/hosts; cat /etc/hostname; cat /etc/resolv.conf; cat /proc/sys/net/ipv4/ip_unprivileged_port_start',
                       hostname='elsewhere', subdomain='sub', hostAliases=[{'ip': '10.1.2.3', 'hostnames': ['foo.local', 'bar']}], restartPolicy='Never')
        manifest['spec']['securityContext'] = {'sysctls': [{'name': 'net.ipv4.ip_unprivileged_port_start', 'value': '0'}]}
        self.apply(manifest)
        self.wait_phase('named', 'Succeeded')
        log = self.k('logs', 'named')
        ip = self.peek('pods', 'named')['status']['podIP']
        self.assertRegex(log, rf'{re.escape(ip)}\s+elsewhere\.sub\.{self.ns}\.svc\.cluster\.local\s+elsewhere')
        self.assertRegex(log, r'10\.1\.2\.3\s+foo\.local\s+bar')
        self.assertIn('\nelsewhere\n', log)
        self.assertRegex(log, rf'search {self.ns}\.svc\.cluster\.local svc\.cluster\.local cluster\.local')
        self.assertIn('nameserver 10.43.0.10', log)
        self.assertIn('options ndots:5', log)
        self.assertTrue(log.endswith('\n0\n'), log)

    def test_dns_policy(self):
        log = self.run_pod('dns', 'cat /etc/resolv.conf', dnsPolicy='None',
                           dnsConfig={'nameservers': ['10.9.9.9'], 'searches': ['a.example'], 'options': [{'name': 'ndots', 'value': '2'}]})
        self.assertEqual({'nameserver 10.9.9.9', 'search a.example', 'options ndots:2'}, set(log.split('\n')) - {''})

    def test_volumes(self):
        host = self.node.dir / 'host-volume'
        host.mkdir()
        (host / 'given').write_text('from the host')
        self.apply(config_map('files', **{'a.txt': 'A', 'b.txt': 'B'}),
                   {'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'keys'}, 'data': {'pw': base64.b64encode(b's3cret').decode()}})
        mounts = [{'name': 'empty', 'mountPath': '/empty'}, {'name': 'memory', 'mountPath': '/memory'}, {'name': 'host', 'mountPath': '/host'},
                  {'name': 'cm', 'mountPath': '/cm'}, {'name': 'cm', 'mountPath': '/single', 'subPath': 'a.txt'},
                  {'name': 'picked', 'mountPath': '/picked'}, {'name': 'secret', 'mountPath': '/secret', 'readOnly': True},
                  {'name': 'info', 'mountPath': '/info'}, {'name': 'all', 'mountPath': '/all'},
                  {'name': 'empty', 'mountPath': '/expanded', 'subPathExpr': '$(POD)'}]
        volumes = [{'name': 'empty', 'emptyDir': {}}, {'name': 'memory', 'emptyDir': {'medium': 'Memory', 'sizeLimit': '1Mi'}},
                   {'name': 'host', 'hostPath': {'path': str(host), 'type': 'Directory'}}, {'name': 'cm', 'configMap': {'name': 'files'}},
                   {'name': 'picked', 'configMap': {'name': 'files', 'items': [{'key': 'b.txt', 'path': 'sub/renamed', 'mode': 0o400}]}},
                   {'name': 'secret', 'secret': {'secretName': 'keys', 'defaultMode': 0o440}},
                   {'name': 'info', 'downwardAPI': {'items': [
                       {'path': 'labels', 'fieldRef': {'fieldPath': 'metadata.labels'}},
                       {'path': 'cpu', 'resourceFieldRef': {'containerName': 'main', 'resource': 'limits.cpu', 'divisor': '1m'}}]}},
                   {'name': 'all', 'projected': {'sources': [
                       {'configMap': {'name': 'files', 'items': [{'key': 'a.txt', 'path': 'a'}]}}, {'secret': {'name': 'keys'}},
                       {'serviceAccountToken': {'path': 'token', 'audience': 'vault', 'expirationSeconds': 600}},
                       {'downwardAPI': {'items': [{'path': 'name', 'fieldRef': {'fieldPath': 'metadata.name'}}]}}]}}]
        self.apply(pod('files', 'touch /empty/started; sleep 10000', volumeMounts=mounts, volumes=volumes, labels={'app': 'files', 'x': 'y'},
                       resources={'limits': {'cpu': '300m', 'memory': '64Mi'}},
                       env=[{'name': 'POD', 'valueFrom': {'fieldRef': {'fieldPath': 'metadata.name'}}}]))
        self.wait_running('files')
        out = self.sh('files', 'cat /cm/a.txt /cm/b.txt /single /picked/sub/renamed /secret/pw /info/cpu /all/a /all/pw /all/name; echo; ls /all /picked')
        self.assertTrue(out.startswith('ABABs3cret300As3cretfiles\n'), out)
        self.assertEqual('a\nname\npw\ntoken\n', self.sh('files', 'ls /all'))
        self.assertIn('app="files"\nx="y"', self.sh('files', 'cat /info/labels'))
        self.assertEqual('400 440\n', self.sh('files', 'echo $(stat -Lc %a /picked/sub/renamed /secret/pw)'))
        self.assertEqual('from the host', self.sh('files', 'cat /host/given; echo back > /host/back'))
        self.assertEqual('back\n', (host / 'back').read_text())
        self.assertRegex(self.sh('files', 'grep " /memory " /proc/mounts'), r'tmpfs .*size=1024k')
        self.assertIn('files', self.sh('files', 'ls /empty'))
        self.assertNotEqual(0, self.kubectl('exec', 'files', '--', 'sh', '-c', 'echo x > /secret/pw').returncode)
        claims = json.loads(base64.urlsafe_b64decode(self.sh('files', 'cat /all/token').split('.')[1] + '=='))
        self.assertEqual(['vault'], claims['aud'])
        self.assertAlmostEqual(600, claims['exp'] - claims['iat'], delta=10)
        self.assertEqual('files', claims['kubernetes.io']['pod']['name'])
        # A change of the ConfigMap arrives in the whole volumes in one step, and not in the subPath.
        self.apply(config_map('files', **{'a.txt': 'new A', 'b.txt': 'new B', 'c.txt': 'C'}))
        self.k('label', 'pod', 'files', 'x=z', '--overwrite')
        self.wait(lambda: self.sh('files', 'cat /cm/a.txt /cm/b.txt /cm/c.txt /all/a /single', check=False) == 'new Anew BCnew AA', 90)
        self.wait(lambda: 'x="z"' in self.sh('files', 'cat /info/labels'), 90)

    def test_a_missing_volume_says_why(self):
        self.apply(pod('waits', 'sleep 1000', volumeMounts=[{'name': 'v', 'mountPath': '/v'}], volumes=[{'name': 'v', 'secret': {'secretName': 'nope'}}]),
                   pod('path', 'sleep 1000', volumes=[{'name': 'v', 'hostPath': {'path': '/no/such', 'type': 'Directory'}}]))
        self.wait_event('waits', 'FailedMount: MountVolume.SetUp failed for volume "v" : secret "nope" not found')
        self.wait_event('path', 'hostPath type check failed')
        self.assertIn('ContainerCreating', self.k('get', 'pod', 'waits'))
        self.apply({'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'nope'}, 'stringData': {'a': 'b'}})
        self.wait_running('waits', 60)

    def test_token_reaches_the_api(self):
        self.apply(pod('client', 'sleep 10000'))
        self.wait_running('client')
        directory = '/var/run/secrets/kubernetes.io/serviceaccount'
        self.assertEqual('ca.crt\nnamespace\ntoken\n', self.sh('client', f'ls {directory}'))
        self.assertEqual(self.ns, self.sh('client', f'cat {directory}/namespace'))
        token = self.sh('client', f'cat {directory}/token')
        path = f'/api/v1/namespaces/{self.ns}/pods'
        self.assertEqual(403, self.node.api('GET', path, token=token).status)
        self.k('create', 'rolebinding', 'view', '--clusterrole=view', f'--serviceaccount={self.ns}:default')
        self.wait(lambda: self.node.api('GET', path, token=token).status == 200, 5)
        self.assertEqual(403, self.node.api('GET', f'/api/v1/namespaces/{self.ns}/secrets', token=token).status)
        self.k('delete', 'pod', 'client')
        self.wait(lambda: self.node.api('GET', path, token=token).status == 401, 10, 'the token of a deleted pod is refused')
        self.apply(pod('none', 'sleep 1000', automountServiceAccountToken=False))
        self.wait_running('none')
        self.assertNotEqual(0, self.kubectl('exec', 'none', '--', 'ls', directory).returncode)


class Life(NodeTest):
    """Starting, failing, restarting and ending."""

    def test_phases_and_restart_policies(self):
        self.apply(pod('good', 'exit 0', restartPolicy='Never'), pod('bad', 'echo dying; exit 3', restartPolicy='Never'),
                   pod('once', 'test -e /v/f || { touch /v/f; exit 1; }', restartPolicy='OnFailure',
                       volumeMounts=[{'name': 'v', 'mountPath': '/v'}], volumes=[{'name': 'v', 'emptyDir': {}}]))
        self.wait_phase('good', 'Succeeded')
        self.assertEqual('Completed', container_status(self.peek('pods', 'good'))['state']['terminated']['reason'])
        failed = container_status(self.wait_phase('bad', 'Failed'))['state']['terminated']
        self.assertEqual(('Error', 3), (failed['reason'], failed['exitCode']))
        self.assertRegex(failed['containerID'], '^brume://[0-9a-f]{64}$')
        once = container_status(self.wait_phase('once', 'Succeeded', 40))
        self.assertEqual(1, once['restartCount'])
        self.assertRegex(self.k('get', 'pods'), r'bad +0/1 +Error +0 ')
        self.assertRegex(self.k('get', 'pods'), r'good +0/1 +Completed +0 ')
        self.assertRegex(self.k('describe', 'pod', 'bad'), r'Reason: +Error\n +Exit Code: +3')

    def test_restart_rules(self):
        def rules(*codes, action='Restart'):
            return [{'action': action, 'exitCodes': {'operator': 'In', 'values': list(codes)}}]
        mounts = {'volumeMounts': [{'name': 'd', 'mountPath': '/d'}]}
        volumes = [{'name': 'd', 'emptyDir': {}}]
        once = pod('once', 'echo x >> /d/runs; [ $(wc -l < /d/runs) = 2 ] && exit 3; exit 42', volumes=volumes, restartPolicy='Never', **mounts)
        once['spec']['containers'][0].update(restartPolicy='Never', restartPolicyRules=rules(42))
        whole = pod('whole', '[ -f /d/done ] && exec sleep 1000; touch /d/done; sleep 1; exit 42', volumes=volumes, restartPolicy='Never', **mounts)
        whole['spec']['containers'][0].update(restartPolicy='Never', restartPolicyRules=rules(42, action='RestartAllContainers'))
        whole['spec']['containers'].append({'name': 'beside', 'image': IMAGE, 'command': ['sleep', '1000']})
        whole['spec']['initContainers'] = [{'name': 'setup', 'image': IMAGE, 'command': ['true']}]
        self.apply(once, whole)
        self.wait_phase('once', 'Failed')
        status = container_status(self.peek('pods', 'once'))
        self.assertEqual((1, 3), (status['restartCount'], status['state']['terminated']['exitCode']))
        found = self.wait_pod('whole', lambda p: is_ready(p) and container_status(p)['restartCount'] == 1)
        self.assertEqual(1, container_status(found, 1)['restartCount'])
        self.assertEqual(1, found['status']['initContainerStatuses'][0]['restartCount'])

    def test_crash_loop(self):
        self.apply(pod('crash', 'echo attempt; exit 1'))
        found = self.wait_pod('crash', lambda p: p['status'].get('containerStatuses') and container_status(p)['restartCount'] >= 1 and
                              container_status(p)['state'].get('waiting', {}).get('reason') == 'CrashLoopBackOff', 40)
        self.assertRegex(container_status(found)['state']['waiting']['message'],
                         r'back-off 20s restarting failed container=main pod=crash_' + self.ns + r'\([0-9a-f-]{36}\)|back-off 10s restarting')
        self.assertEqual(1, container_status(found)['lastState']['terminated']['exitCode'])
        self.assertRegex(self.k('get', 'pod', 'crash'), r'CrashLoopBackOff +[12] \(')
        self.wait_event('crash', 'BackOff: Back-off restarting failed container main in pod crash_' + self.ns)
        self.assertEqual('attempt\n', self.k('logs', 'crash', '--previous'))

    def test_init_containers(self):
        manifest = pod('chain', 'cat /v/log; sleep 1000', volumeMounts=[{'name': 'v', 'mountPath': '/v'}], volumes=[{'name': 'v', 'emptyDir': {}}])
        def init(name, script, **more):
            return {'name': name, 'image': IMAGE, 'command': ['sh', '-c', script], 'volumeMounts': [{'name': 'v', 'mountPath': '/v'}], **more}
        manifest['spec']['initContainers'] = [init('one', 'sleep 0.5; echo one >> /v/log'), init('two', 'echo two >> /v/log'),
                                              init('side', 'echo side >> /v/log; sleep 1000', restartPolicy='Always'),
                                              init('three', 'echo three >> /v/log')]
        self.apply(manifest)
        self.wait_pod('chain', lambda p: 'Init:' in self.k('get', 'pod', 'chain') or is_ready(p), 10)
        found = self.wait_running('chain')
        log = self.k('logs', 'chain', '-c', 'main').split()
        self.assertEqual(['one', 'two'], log[:2])
        self.assertEqual({'side', 'three'}, set(log[2:]))
        self.assertRegex(self.k('get', 'pod', 'chain'), r'chain +2/2 +Running')
        self.assertEqual(['Completed'] * 2, [s['state']['terminated']['reason'] for s in found['status']['initContainerStatuses'][:2]])
        self.assertIn('running', found['status']['initContainerStatuses'][2]['state'])
        bad = pod('broken', 'echo never', restartPolicy='Never')
        bad['spec']['initContainers'] = [{'name': 'fails', 'image': IMAGE, 'command': ['sh', '-c', 'exit 7']}]
        self.apply(bad)
        self.wait_phase('broken', 'Failed')
        self.assertRegex(self.k('get', 'pod', 'broken'), r'broken +0/1 +Init:Error')

    def test_readiness_gates_endpoints(self):
        self.apply(pod('web', 'while :; do nc -l -p 80 -e true; done', readinessProbe={'exec': {'command': ['test', '-e', '/tmp/ready']},
                                                                                  'periodSeconds': 1, 'failureThreshold': 1}),
                   service('web', {'app': 'web'}, {'port': 80}))
        self.wait_pod('web', lambda p: 'running' in container_status(p)['state'] if p['status'].get('containerStatuses') else False)
        def addresses():
            subsets = self.peek('endpoints', 'web').get('subsets') or []
            return (len([a for s in subsets for a in s.get('addresses') or []]), len([a for s in subsets for a in s.get('notReadyAddresses') or []]))
        self.wait(lambda: addresses() == (0, 1), 10)
        self.assertRegex(self.k('get', 'pod', 'web'), r'web +0/1 +Running')
        self.wait_event('web', 'Unhealthy: Readiness probe failed')
        self.sh('web', 'touch /tmp/ready')
        self.wait(lambda: addresses() == (1, 0), 10)
        self.sh('web', 'rm /tmp/ready')
        self.wait(lambda: addresses() == (0, 1), 10)
        self.assertEqual(0, container_status(self.peek('pods', 'web'))['restartCount'])

    def test_liveness_restarts(self):
        self.apply(pod('live', 'touch /tmp/ok; sleep 2; rm /tmp/ok; sleep 1000',
                       livenessProbe={'exec': {'command': ['cat', '/tmp/ok']}, 'periodSeconds': 1, 'failureThreshold': 2, 'initialDelaySeconds': 1}))
        self.wait_pod('live', lambda p: p['status'].get('containerStatuses') and container_status(p)['restartCount'] >= 1, 40)
        self.wait_event('live', 'Unhealthy: Liveness probe failed: cat: can\'t open \'/tmp/ok\': No such file or directory')
        self.wait_event('live', 'Killing: Container main failed liveness probe, will be restarted')

    def test_startup_probe_holds_the_others_back(self):
        self.apply(pod('slow', 'sleep 3; touch /tmp/up; httpd -f -p 8080 -h /www',
                       startupProbe={'exec': {'command': ['test', '-e', '/tmp/up']}, 'periodSeconds': 1, 'failureThreshold': 30},
                       livenessProbe={'tcpSocket': {'port': 8080}, 'periodSeconds': 1, 'failureThreshold': 1, 'initialDelaySeconds': 1},
                       readinessProbe={'httpGet': {'path': '/', 'port': 8080, 'httpHeaders': [{'name': 'X-A', 'value': 'b'}]}, 'periodSeconds': 1}))
        found = self.wait_pod('slow', lambda p: p['status'].get('containerStatuses') and container_status(p).get('started'), 30)
        self.assertEqual(0, container_status(found)['restartCount'])
        self.wait_event('slow', 'Unhealthy: Startup probe failed')
        self.wait_event('slow', 'Readiness probe failed: HTTP probe failed with statuscode: 404')
        self.sh('slow', 'echo hi > /www/index.html')
        self.assertEqual(0, container_status(self.wait_running('slow'))['restartCount'])

    def test_grpc_probe(self):
        self.apply(pod('grpc', f"""
            printf '{grpc_health_answer(1)}' > /tmp/serving
            printf '{grpc_health_answer(2)}' > /tmp/answer
            printf '#!/bin/sh\\ncat /tmp/answer\\ncat > /dev/null\\n' > /tmp/server
            chmod +x /tmp/server
            while :; do nc -l -p 5000 -e /tmp/server; done""",
                       readinessProbe={'grpc': {'port': 5000}, 'periodSeconds': 1}),
                   pod('none', 'sleep 1000', readinessProbe={'grpc': {'port': 5000, 'service': 'x'}, 'periodSeconds': 1}))
        self.wait_event('grpc', 'Unhealthy: Readiness probe failed: service unhealthy (responded with "NOT_SERVING")')
        self.sh('grpc', 'mv /tmp/serving /tmp/answer')
        self.wait_running('grpc')
        self.wait_event('none', 'Unhealthy: Readiness probe failed: error: failed to connect service at "')

    def test_a_probe_that_is_sent_elsewhere(self):
        answer = r'HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 5\r\nConnection: close\r\n\r\naway\n'
        self.apply(pod('sent', f"while :; do printf '{answer}' | nc -l -p 8080; done",
                       readinessProbe={'httpGet': {'path': '/', 'port': 8080}, 'periodSeconds': 1}))
        self.wait_event('sent', 'ProbeWarning: Readiness probe warning: Probe terminated redirects, Response body: away')
        self.wait_pod('sent', lambda p: container_status(p)['ready'])

    def test_pre_stop_and_grace(self):
        host = self.node.dir / 'hooks'
        host.mkdir()
        volumes = {'volumeMounts': [{'name': 'h', 'mountPath': '/h'}], 'volumes': [{'name': 'h', 'hostPath': {'path': str(host)}}]}
        self.apply(pod('hooked', "trap 'echo term >> /h/log; exit 0' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=10,
                       lifecycle={'postStart': {'exec': {'command': ['sh', '-c', 'echo start >> /h/log']}},
                                  'preStop': {'exec': {'command': ['sh', '-c', 'sleep 0.5; echo stop >> /h/log']}}}, **volumes),
                   pod('deaf', "trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=2))
        self.wait_running('hooked')
        self.wait_running('deaf')
        begin = time.monotonic()
        self.k('delete', 'pod', 'hooked')
        self.assertEqual('start\nstop\nterm\n', (host / 'log').read_text())
        self.assertLess(time.monotonic() - begin, 6)
        begin = time.monotonic()
        self.k('delete', 'pod', 'deaf', '--wait=false')
        self.assertRegex(self.k('get', 'pod', 'deaf'), 'deaf +1/1 +Terminating')
        self.wait_gone('pods', 'deaf')
        self.assertTrue(1.5 < time.monotonic() - begin < 8, time.monotonic() - begin)
        self.apply(pod('forced', "trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=60))
        self.wait_running('forced')
        begin = time.monotonic()
        self.k('delete', 'pod', 'forced', '--grace-period=0', '--force')
        self.assertLess(time.monotonic() - begin, 5)

    def test_termination_message(self):
        self.apply(pod('file', 'printf "the reason" > /dev/termination-log; exit 1', restartPolicy='Never'),
                   pod('log', 'echo last words; exit 1', restartPolicy='Never', terminationMessagePolicy='FallbackToLogsOnError'),
                   pod('path', 'printf elsewhere > /tmp/why', restartPolicy='Never', terminationMessagePath='/tmp/why',
                       securityContext={'runAsUser': 1000}))
        message = lambda name, phase: container_status(self.wait_phase(name, phase))['state']['terminated'].get('message')
        self.assertEqual('the reason', message('file', 'Failed'))
        self.assertEqual('last words\n', message('log', 'Failed'))
        self.assertEqual('elsewhere', message('path', 'Succeeded'))

    def test_qos(self):
        both = {'cpu': '10m', 'memory': '16Mi'}
        self.apply(pod('g', 'sleep 1000', resources={'limits': both}), pod('b', 'sleep 1000', resources={'requests': {'cpu': '1m'}}),
                   pod('e', 'sleep 1000'))
        self.assertEqual(['BestEffort', 'Burstable', 'Guaranteed'],
                         [self.peek('pods', name)['status']['qosClass'] for name in ('e', 'b', 'g')])

    def test_image_problems(self):
        self.apply(pod('never', 'true', image='localhost/absent:1', imagePullPolicy='Never'), pod('bad', 'true', image='UPPER/case:!'),
                   pod('pull', 'true', image='127.0.0.1:5999/absent:1'), pod('nocmd', '/no/such/program', '-x'))
        waiting = lambda p: (p['status'].get('containerStatuses') or [{}])[0].get('state', {}).get('waiting', {})
        self.assertIn('localhost/absent:1', waiting(self.wait_pod('never', lambda p: waiting(p).get('reason') == 'ErrImageNeverPull'))['message'])
        self.assertIn('invalid reference format', waiting(self.wait_pod('bad', lambda p: waiting(p).get('reason') == 'InvalidImageName'))['message'])
        self.wait_pod('pull', lambda p: waiting(p).get('reason') in ('ErrImagePull', 'ImagePullBackOff'))
        self.wait_event('pull', 'onnection refused')
        self.wait_pod('pull', lambda p: waiting(p).get('reason') == 'ImagePullBackOff')
        self.assertRegex(self.k('get', 'pod', 'pull'), r'pull +0/1 +(ImagePullBackOff|ErrImagePull) ')
        found = self.wait_pod('nocmd', lambda p: waiting(p).get('reason') in ('RunContainerError', 'CrashLoopBackOff') or
                              container_status(p)['state'].get('terminated') if p['status'].get('containerStatuses') else False)
        self.assertIn('o such file or directory', json.dumps(container_status(found)) + str(self.wait_event('nocmd', 'Failed: ')))

    def test_unschedulable(self):
        self.apply(pod('selector', 'true', nodeSelector={'disk': 'ssd'}), pod('big', 'true', resources={'requests': {'cpu': '1000', 'memory': '9000Gi'}}),
                   pod('port1', 'sleep 1000', ports=[{'containerPort': 80, 'hostPort': 8123}]))
        self.wait_event('selector', "FailedScheduling: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
        self.wait_event('big', 'FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.')
        self.wait_running('port1')
        self.apply(pod('port2', 'sleep 1000', ports=[{'containerPort': 80, 'hostPort': 8123}]))
        self.wait_event('port2', "FailedScheduling: 0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.")
        self.assertRegex(self.k('get', 'pod', 'port2'), 'port2 +0/1 +Pending')
        self.k('delete', 'pod', 'port1')
        self.wait_running('port2')
        node = self.get('nodes')['items'][0]['metadata']['name']
        self.k('label', 'node', node, 'disk=ssd')
        self.addCleanup(self.k, 'label', 'node', node, 'disk-')
        self.wait_pod('selector', lambda p: p['spec'].get('nodeName'))

    def test_names_its_node(self):
        """What the scheduler would not send here, the node refuses, for ever; what was labelled a moment ago runs."""
        node = self.get('nodes')['items'][0]['metadata']['name']
        self.apply(pod('wrong', 'sleep 1000', nodeName=node, nodeSelector={'disk': 'ssd'}))
        self.wait_phase('wrong', 'Failed')
        status = self.peek('pods', 'wrong')['status']
        self.assertEqual(('NodeAffinity', "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"),
                         (status['reason'], status['message']))
        self.assertRegex(self.k('get', 'pod', 'wrong'), 'wrong +0/1 +NodeAffinity')
        self.k('label', 'node', node, 'disk=ssd')
        self.addCleanup(self.k, 'label', 'node', node, 'disk-')
        self.apply(pod('right', 'sleep 1000', nodeName=node, nodeSelector={'disk': 'ssd'}))
        self.wait_running('right')
        self.k('taint', 'node', node, 'away=yes:NoExecute')
        self.addCleanup(self.k, 'taint', 'node', node, 'away-', check=False)
        self.wait_gone('pods', 'right')
        tolerates = [{'key': 'away', 'operator': 'Exists'}]
        self.apply(pod('repelled', 'true', nodeName=node), pod('stays', 'sleep 1000', nodeName=node, tolerations=tolerates))
        self.wait_running('stays')
        self.wait_event('repelled', "TaintToleration: Pod was rejected: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate")
        self.k('taint', 'node', node, 'away-')

    def test_taints_and_cordon(self):
        node = self.get('nodes')['items'][0]['metadata']['name']
        self.k('cordon', node)
        self.apply(pod('a', 'sleep 1000'))
        self.wait_event('a', 'FailedScheduling: 0/1 nodes are available: 1 node(s) were unschedulable.')
        self.assertIn('SchedulingDisabled', self.k('get', 'nodes'))
        self.k('uncordon', node)
        self.wait_running('a')
        self.k('taint', 'node', node, 'gpu=yes:NoSchedule')
        self.apply(pod('b', 'sleep 1000'),
                   pod('c', 'sleep 1000', tolerations=[{'key': 'gpu', 'operator': 'Exists', 'effect': 'NoSchedule'}]))
        self.wait_running('c')
        self.wait_event('b', "FailedScheduling: 0/1 nodes are available: 1 node(s) had untolerated taint")
        self.k('taint', 'node', node, 'gpu-')
        self.wait_running('b')
        self.k('taint', 'node', node, 'out=now:NoExecute')
        self.addCleanup(self.kubectl, 'taint', 'node', node, 'out-')
        self.wait_gone('pods', 'a')

    def test_host_network_and_host_port(self):
        self.apply(pod('host', 'hostname -i; httpd -f -p 8321 -h /www', hostNetwork=True),
                   pod('port', 'mkdir -p /www; echo by hostPort > /www/index.html; httpd -f -p 80 -h /www', ports=[{'containerPort': 80, 'hostPort': 8322}]))
        found = self.wait_running('host')
        self.assertEqual(found['status']['hostIP'], found['status']['podIP'])
        self.assertIn('404', self.node.run('curl', '-sS', 'http://127.0.0.1:8321/').stdout)
        self.wait_running('port')
        for address in (found['status']['hostIP'],):
            self.wait(lambda address=address: self.node.run('curl', '-sS', '--max-time', '3', f'http://{address}:8322/', check=False).stdout == 'by hostPort\n',
                      10, f'hostPort by {address}')

    def test_host_pid_and_shared_pid(self):
        self.assertEqual('1\n', self.run_pod('own', 'sh', '-c', 'echo $$$$'))
        self.assertNotEqual('1\n', self.run_pod('host', 'sh', '-c', 'echo $$$$', hostPID=True))
        manifest = pod('shared', 'sleep 12345', shareProcessNamespace=True)
        manifest['spec']['containers'].append({'name': 'other', 'image': IMAGE, 'command': ['sleep', '54321']})
        self.apply(manifest)
        self.wait_running('shared')
        listed = self.k('exec', 'shared', '-c', 'main', '--', 'ps')
        self.assertIn('sleep 12345', listed)
        self.assertIn('sleep 54321', listed)

    def test_active_deadline(self):
        self.apply(pod('short', 'sleep 1000', activeDeadlineSeconds=2))
        found = self.wait_phase('short', 'Failed', 20)
        self.assertEqual('DeadlineExceeded', found['status']['reason'])

    def test_image_change_in_place(self):
        self.apply(pod('web', 'echo $HELLO_VERSION; sleep 1000'))
        self.wait_running('web')
        uid = self.peek('pods', 'web')['metadata']['uid']
        self.k('set', 'image', 'pod/web', 'main=' + IMAGE_NEXT)
        found = self.wait_pod('web', lambda p: container_status(p)['restartCount'] == 1 and is_ready(p))
        self.assertEqual(uid, found['metadata']['uid'])
        self.assertEqual('1.1\n', self.k('logs', 'web'))
        forbidden = self.kubectl('patch', 'pod', 'web', '-p', '{"spec":{"restartPolicy":"Never"}}')
        self.assertIn('pod updates may not change fields other than', forbidden.stderr)

    def test_a_pod_over_its_disk_limit_is_evicted(self):
        mounts = {'volumeMounts': [{'name': 'cache', 'mountPath': '/cache'}]}
        volumes = [{'name': 'cache', 'emptyDir': {'sizeLimit': '1Mi'}}]
        self.apply(pod('small', 'head -c 500000 /dev/zero > /cache/f; sleep 1000', volumes=volumes, **mounts),
                   pod('large', 'head -c 3000000 /dev/zero > /cache/f; sleep 1000', volumes=volumes, **mounts),
                   pod('layer', 'head -c 5000000 /dev/zero > /f; sleep 1000', resources={'limits': {'ephemeral-storage': '2Mi'}}))
        found = self.wait_pod('large', lambda p: p['status']['phase'] == 'Failed', 30)
        self.assertEqual('Evicted', found['status']['reason'])
        self.assertEqual('Usage of EmptyDir volume "cache" exceeds the limit "1Mi". ', found['status']['message'])
        found = self.wait_pod('layer', lambda p: p['status']['phase'] == 'Failed', 30)
        self.assertIn('exceeds the total limit of containers 2Mi', found['status']['message'])
        self.assertEqual('Running', self.peek('pods', 'small')['status']['phase'])
        self.wait_event('large', 'Usage of EmptyDir volume')

    @needs_kubectl(32)
    def test_resize_in_place(self):
        def amounts(cpu, memory):
            return {'requests': {'cpu': cpu, 'memory': memory}, 'limits': {'cpu': cpu, 'memory': memory}}

        def resize(cpu, memory):
            patch = {'spec': {'containers': [{'name': 'main', 'resources': amounts(cpu, memory)}]}}
            return self.kubectl('patch', 'pod', 'sized', '--subresource', 'resize', '-p', json.dumps(patch))

        def settled(cpu, memory, restarts):
            def check(found):
                status = container_status(found)
                return (status.get('resources') == amounts(cpu, memory) and status['restartCount'] == restarts and is_ready(found)
                        and not any(c['type'].startswith('PodResize') for c in found['status']['conditions']))
            return self.wait_pod('sized', check)
        policy = [{'resourceName': 'cpu', 'restartPolicy': 'NotRequired'}, {'resourceName': 'memory', 'restartPolicy': 'RestartContainer'}]
        self.apply(pod('sized', 'sleep 1000', resources=amounts('50m', '32Mi'), resizePolicy=policy))
        started = settled('50m', '32Mi', 0)
        self.assertEqual(0, resize('100m', '32Mi').returncode)
        found = settled('100m', '32Mi', 0)
        self.assertEqual(container_status(started)['containerID'], container_status(found)['containerID'])
        self.assertEqual('100m', container_status(found)['allocatedResources']['cpu'])
        self.assertEqual(found['metadata']['generation'], found['status']['observedGeneration'])
        self.assertEqual(0, resize('100m', '48Mi').returncode)
        settled('100m', '48Mi', 1)
        self.wait_event('sized', 'Pod resize completed: {"containers":[{"name":"main",')
        self.assertIn("node didn't have enough allocatable resources: cpu, requested: 5000000", resize('5000', '48Mi').stderr)
        refused = self.kubectl('patch', 'pod', 'sized', '--subresource', 'resize', '--type=json', '-p',
                               '[{"op":"remove","path":"/spec/containers/0/resources"}]')
        self.assertIn('Pod QOS Class may not change as a result of resizing', refused.stderr)
        self.assertIn('resource limits cannot be removed', refused.stderr)


class Streams(NodeTest):
    """logs and exec."""

    def test_logs(self):
        self.apply(pod('talker', 'for i in $(seq 1 20); do echo out $i; echo err $i >&2; done; sleep 3; echo late; sleep 1000'))
        self.wait_running('talker')
        self.wait(lambda: 'late' in self.k('logs', 'talker'), 10)
        lines = self.k('logs', 'talker').splitlines()
        self.assertEqual(41, len(lines))
        self.assertEqual([f'out {i}' for i in range(1, 21)], [line for line in lines if line.startswith('out')])
        self.assertEqual(lines[-3:], self.k('logs', 'talker', '--tail=3').splitlines())
        self.assertEqual('', self.k('logs', 'talker', '--tail=0'))
        stamped = self.k('logs', 'talker', '--timestamps', '--tail=1')
        self.assertRegex(stamped, r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z late\n$')
        self.assertEqual(['late'], self.k('logs', 'talker', '--since-time=' + stamped.split()[0]).splitlines())
        time.sleep(1.2)
        self.assertEqual('', self.k('logs', 'talker', '--since=1s'))
        self.assertEqual(10, len(self.k('logs', 'talker', '--limit-bytes=10')))
        self.assertIn('container nope is not valid for pod talker', self.kubectl('logs', 'talker', '-c', 'nope').stderr)
        previous = self.kubectl('logs', 'talker', '--previous')
        self.assertIn('previous terminated container "main" in pod "talker" not found', previous.stderr)
        self.assertIn('"missing" not found', self.kubectl('logs', 'missing').stderr)

    def test_follow(self):
        self.apply(pod('ticker', 'for i in 1 2 3 4 5 6; do echo tick $i; sleep 0.5; done', restartPolicy='Never'))
        self.wait_pod('ticker', lambda p: p['status'].get('containerStatuses') and 'waiting' not in container_status(p)['state'])
        self.assertEqual([f'tick {i}' for i in range(1, 7)], self.k('logs', '-f', 'ticker', timeout=30).splitlines())
        self.assertEqual(['tick 6'], self.k('logs', '-f', 'ticker', '--tail=1', timeout=30).splitlines())

    def test_long_lines_and_bytes(self):
        log = self.run_pod('bytes', 'head -c 70000 /dev/zero | tr "\\0" x; echo; printf "no newline"')
        self.assertEqual('x' * 70000 + '\nno newline', log.rstrip('\n'))

    def test_several_containers(self):
        manifest = pod('two', 'echo from main; sleep 1000')
        manifest['spec']['containers'].append({'name': 'side', 'image': IMAGE, 'command': ['sh', '-c', 'echo from side; sleep 1000']})
        self.apply(manifest)
        self.wait_running('two')
        self.assertEqual('from side\n', self.k('logs', 'two', '-c', 'side'))
        self.assertEqual({'[pod/two/main] from main', '[pod/two/side] from side'},
                         set(self.k('logs', 'two', '--all-containers', '--prefix').splitlines()))
        refused = self.node.api('GET', f'/api/v1/namespaces/{self.ns}/pods/two/log')
        self.assertEqual(400, refused.status)
        self.assertIn('a container name must be specified for pod two, choose one of: [main side]', refused.json()['message'])

    def test_exec(self):
        self.apply(pod('box', 'sleep 10000', env=[{'name': 'A', 'value': 'b'}]))
        self.wait_running('box')
        result = self.kubectl('exec', 'box', '--', 'sh', '-c', 'echo out; echo err >&2; exit 42')
        self.assertEqual((42, 'out\n'), (result.returncode, result.stdout))
        self.assertIn('err\n', result.stderr)
        self.assertIn('exit code 42', result.stderr)
        self.assertEqual('typed in\n', self.k('exec', '-i', 'box', '--', 'cat', input='typed in\n'))
        big = 'y' * 3_000_000
        self.assertEqual(str(len(big)) + '\n', self.k('exec', '-i', 'box', '--', 'wc', '-c', input=big))
        self.assertEqual(2_000_000, len(self.k('exec', 'box', '--', 'sh', '-c', 'head -c 2000000 /dev/zero | tr "\\0" z')))
        missing = self.kubectl('exec', 'box', '--', 'no-such-program')
        self.assertNotEqual(0, missing.returncode)
        self.assertRegex(missing.stderr, 'no such file or directory|not found')
        self.assertEqual('b\n', self.sh('box', 'echo $A'))
        self.assertIn('nope', self.kubectl('exec', 'box', '-c', 'nope', '--', 'true').stderr)

    def test_exec_terminal(self):
        self.apply(pod('box', 'sleep 10000'))
        self.wait_running('box')
        process, fd = terminal(self, 'exec', '-it', 'box', '--', 'sh')
        read_until(fd, '#')
        os.write(fd, b'stty size; tty; echo done-$((40+2))\n')
        got = read_until(fd, 'done-42')
        self.assertIn('33 101', got)
        self.assertIn('/dev/pts/', got)
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 20, 77, 0, 0))
        process.send_signal(signal.SIGWINCH)
        time.sleep(0.5)
        os.write(fd, b'stty size; echo sized-$((1+1))\n')
        self.assertIn('20 77', read_until(fd, 'sized-2'))
        os.write(fd, b'sleep 1000\n')
        time.sleep(0.3)
        os.write(fd, b'\x03')
        os.write(fd, b'echo back-$((1+1))\n')
        read_until(fd, 'back-2')
        os.write(fd, b'exit 5\n')
        self.assertEqual(5, process.wait(10))

    def test_run_and_attach(self):
        result = self.kubectl('run', 'once', '--image=' + IMAGE, '--restart=Never', '--rm', '-i', '--command', '--', 'sh', '-c', 'read x; echo "got $x"',
                              input='hello\n', timeout=60)
        self.assertIn('got hello', result.stdout, result)
        self.assertIn('deleted', result.stdout)

    def test_port_forward(self):
        self.apply(pod('web', 'mkdir -p /www; echo forwarded > /www/index.html; httpd -f -p 8080 -h /www'))
        self.wait_running('web')
        forward = self.node.popen(self.node.kubectl_binary, '-n', self.ns, 'port-forward', 'pod/web', '18080:8080', stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            self.wait(lambda: self.node.run('curl', '-sS', 'http://127.0.0.1:18080/', check=False).stdout == 'forwarded\n', 10)
        finally:
            forward.terminate()
            output = forward.communicate(timeout=10)[0].decode()
        self.assertIn('Forwarding from 127.0.0.1:18080 -> 8080', output)

    def test_copy(self):
        self.apply(pod('box', 'sleep 10000'))
        self.wait_running('box')
        source = self.node.dir / 'to-copy'
        source.write_bytes(os.urandom(300_000))
        self.k('cp', source, f'{self.ns}/box:/tmp/copied')
        self.k('cp', f'{self.ns}/box:/tmp/copied', self.node.dir / 'copied-back')
        self.assertEqual(source.read_bytes(), (self.node.dir / 'copied-back').read_bytes())


if __name__ == '__main__':
    unittest.main()
