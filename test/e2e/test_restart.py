#!/usr/bin/env python3
"""What a server's end leaves and the next start takes over: SIGKILL, SIGTERM, --stop-pods, cleanup, a full disk, a data dir in
use, a taken port. Everything runs in network namespaces of its own."""
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time
import unittest

import harness

IMAGE = 'localhost/restart:1'
# A debug build is several times slower: the limits are for the release build, times this.
SLOW = float(os.environ.get('BRUME_SLOW', '1'))


def pod(name, command, **extra):
    spec = {'terminationGracePeriodSeconds': 1, 'containers': [
        {'name': 'main', 'image': IMAGE, 'command': ['sh', '-c', command], **extra.pop('container', {})}], **extra}
    return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name, 'labels': {'app': name}}, 'spec': spec}


COUNTER = 'i=0; while true; do i=$((i+1)); echo "line $i"; sleep 0.05; done'
WEB = 'mkdir -p /tmp/www; echo page > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www'
SERVICE = {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'web'},
           'spec': {'selector': {'app': 'web'}, 'ports': [{'port': 80, 'targetPort': 8080}]}}


def statuses(node):
    """By pod: what must survive a restart of the server."""
    found = {}
    for item in node.get('pods')['items']:
        containers = item['status'].get('containerStatuses', [])
        found[item['metadata']['name']] = {
            'ip': item['status'].get('podIP'),
            'start': item['status'].get('startTime'),
            'containers': [(c['name'], c.get('containerID'), c['restartCount'], c['state']) for c in containers]}
    return found


def shims(node, ns='default'):
    """Pids of the shims of a namespace's pods."""
    uids = [item['metadata']['uid'] for item in node.get('pods', '-n', ns)['items']]
    found = set()
    for pid in (pid for cgroup, group in pod_processes(node).items() for pid in group if any(uid in cgroup for uid in uids)):
        try:
            if 'memfd:brume-shim' in os.readlink(f'/proc/{pid}/exe'):
                found.add(pid)
        except OSError:
            pass
    return found


def processes():
    found = {}
    for entry in pathlib.Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / 'cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
                found[int(entry.name)] = text or (entry / 'comm').read_text()
            except OSError:
                pass
    return found


def pod_processes(node):
    """Pids of processes in the node's pods' cgroups, by cgroup."""
    found = {}
    for path in pod_cgroups(node):
        try:
            pids = (path / 'cgroup.procs').read_text().split()
        except OSError:
            continue
        if pids:
            found[str(path)] = sorted(map(int, pids))
    return found


def pod_cgroups(node):
    """Pods' cgroups are named after their uid, and those are told by the pods that this node's test saw."""
    root = pathlib.Path('/sys/fs/cgroup/unified/brume')
    return [p for p in root.rglob('*') if p.is_dir() and any(uid in str(p) for uid in node.uids)]


def leftovers(node):
    """Everything of this node's that a cleanup must have removed."""
    left = []
    left += [f'process {pid}: {line[:150]}' for pid, line in processes().items()
             if pid != os.getpid() and (str(node.dir) in line or any(uid in line for uid in node.uids))]
    left += ['mount ' + line for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines() if str(node.dir) in line]
    left += [f'cgroup {path}' for path in pod_cgroups(node)]
    links = json.loads(node.run('ip', '-j', 'link').stdout)
    left += ['link ' + link['ifname'] for link in links if link['ifname'] != 'lo']
    left += ['nft ' + line for line in node.run('nft', 'list', 'tables').stdout.splitlines()]
    left += ['route ' + line for line in node.run('ip', 'route').stdout.splitlines()]
    left += ['netns ' + line for line in subprocess.run(['ip', 'netns'], capture_output=True, text=True).stdout.splitlines()
             if any(uid in line for uid in node.uids)]
    state = node.dir / 'run'
    left += [f'file {path}' for path in (state.rglob('*') if state.exists() else [])]
    return left


def fill(file):
    """Writes until the file system is full."""
    for size in (65536, 4096):
        try:
            while file.write(b'x' * size) == size:
                pass
        except OSError:
            pass


class RestartTest(unittest.TestCase):
    def node(self, name, *flags):
        node = harness.Node(name, flags)
        node.uids = set()
        self.addCleanup(node.destroy)
        return node

    def start(self, node):
        began = time.monotonic()
        node.start()
        harness.wait_for(node.node_ready, 20, 0.02, 'the node is ready')
        return time.monotonic() - began

    def deploy(self, node, *objects):
        node.apply(*objects)
        names = [o['metadata']['name'] for o in objects if o['kind'] == 'Pod']
        harness.wait_for(lambda: all(self.running(node, name) for name in names), 30 * SLOW, message='pods run')
        node.uids |= {item['metadata']['uid'] for item in node.get('pods', '-A')['items']}

    def running(self, node, name):
        item = node.get('pod', name)
        return all('running' in c['state'] for c in item['status']['containerStatuses'])

    def curl(self, node, address):
        return node.run('curl', '-sS', '--max-time', '3', f'http://{address}/', check=False).stdout.strip()

    def test_sigkill_leaves_pods_to_the_next_start(self):
        node = self.node('brume-rk')
        print(f'start to node ready {self.start(node):.2f} s')
        node.import_image(IMAGE)
        self.deploy(node, SERVICE, pod('web', WEB), pod('counter', COUNTER),
                    pod('ends', 'sleep 3; exit 7', restartPolicy='Never'), pod('gone', 'sleep 1000'),
                    pod('again', 'sleep 3; exit 9', restartPolicy='Always'))
        address = node.get('service', 'web')['spec']['clusterIP']
        harness.wait_for(lambda: self.curl(node, address) == 'page', 10, message='the service answers')
        before, pids = statuses(node), pod_processes(node)
        shims_before = shims(node)
        self.assertEqual(len(shims_before), len(before))
        node.stop(signal.SIGKILL)
        self.assertEqual(self.curl(node, address), 'page', 'the service answers while the server is down')
        time.sleep(4)  # "ends" and "again" end meanwhile
        # Asks all through the start: what the new server puts in place must not leave a moment without the service.
        asking = node.popen('sh', '-c', f'while sleep 0.02; do curl -s --max-time 2 -o /dev/null http://{address}/ || echo failed; done',
                            stdout=subprocess.PIPE, text=True)
        print(f'start with pods {self.start(node):.2f} s')
        asking.terminate()
        self.assertEqual(asking.communicate()[0], '', 'the service fails while the server starts')
        harness.wait_for(lambda: node.get('pod', 'ends')['status']['phase'] == 'Failed', 10, message='ends has failed')
        harness.wait_for(lambda: node.get('pod', 'again')['status']['containerStatuses'][0]['restartCount'] == 1, 20,
                         message='again was started again')
        after, pids_after = statuses(node), pod_processes(node)
        for name in ('web', 'counter', 'gone'):
            self.assertEqual(before[name], after[name], name)
        state = after['ends']['containers'][0]
        self.assertEqual(before['ends']['containers'][0][1:3], state[1:3])
        self.assertEqual(state[3]['terminated']['exitCode'], 7)
        self.assertEqual(state[3]['terminated']['reason'], 'Error')
        again = node.get('pod', 'again')['status']['containerStatuses'][0]
        self.assertEqual(again['lastState']['terminated']['exitCode'], 9)
        self.assertEqual(before['again']['containers'][0][1], again['lastState']['terminated']['containerID'])
        for cgroup, group in pids.items():
            if any(node.get('pod', name)['metadata']['uid'] in cgroup for name in ('web', 'gone')):
                self.assertEqual(group, pids_after.get(cgroup), cgroup)
        self.assertLessEqual(shims(node), shims_before, 'no other shim took their place')
        self.assert_counts(node, 'counter')
        self.assertEqual(self.curl(node, address), 'page')
        self.assertEqual(node.run(node.kubectl_binary, 'exec', 'web', '--', 'echo', 'in').stdout.strip(), 'in')
        # A pod that was taken over can be deleted, and its parts go.
        uid = node.get('pod', 'gone')['metadata']['uid']
        node.kubectl('delete', 'pod', 'gone', '--timeout=20s')
        harness.wait_for(lambda: not any(uid in str(p) for p in pod_cgroups(node)), 5, message='the cgroup of gone is gone')

    def test_a_pod_whose_shim_dies_is_made_anew(self):
        node = self.node('brume-rs', '--disable', 'dns')
        self.start(node)
        node.import_image(IMAGE)
        init = {'name': 'first', 'image': IMAGE, 'command': ['sh', '-c', 'echo once >> /work/inits']}
        volumes = [{'name': 'work', 'emptyDir': {}}]
        mounts = [{'name': 'work', 'mountPath': '/work'}]
        self.deploy(node, SERVICE, pod('web', WEB, container={'volumeMounts': mounts}, volumes=volumes,
                                       initContainers=[init | {'volumeMounts': mounts}]),
                    pod('once', 'sleep 1000', restartPolicy='Never'))
        address = node.get('service', 'web')['spec']['clusterIP']
        harness.wait_for(lambda: self.curl(node, address) == 'page', 10, message='the service answers')
        self.assertEqual(len(shims(node)), 2)
        for pid in shims(node):
            os.kill(pid, signal.SIGKILL)
        harness.wait_for(lambda: node.get('pod', 'web')['status']['containerStatuses'][0]['restartCount'] == 1 and
                         self.running(node, 'web'), 20 * SLOW, message='the pod runs again')
        harness.wait_for(lambda: self.curl(node, address) == 'page', 10, message='the service answers again')
        inits = node.kubectl('exec', 'web', '--', 'cat', '/work/inits').stdout.split()
        self.assertEqual(inits, ['once', 'once'], 'init containers run again, and an emptyDir is kept')
        last = node.get('pod', 'web')['status']['containerStatuses'][0]['lastState']['terminated']
        self.assertEqual(last['exitCode'], 137)
        self.assertIn('SandboxChanged', node.kubectl('describe', 'pod', 'web').stdout)
        self.assertEqual(node.get('pod', 'once')['status']['phase'], 'Failed')
        node.kubectl('delete', 'pod', '--all', '--timeout=20s')

    def test_another_address_of_the_node(self):
        node = self.node('brume-rn', '--disable', 'dns')
        for command in ('link add uplink type veth peer name far', 'link set uplink up', 'link set far up',
                        'addr add 192.0.2.10/24 dev uplink', 'route add default via 192.0.2.1 dev uplink'):
            node.run('ip', *command.split())
        self.start(node)
        node.import_image(IMAGE)
        self.deploy(node, SERVICE, pod('web', WEB))

        def seen():
            return (node.get('nodes')['items'][0]['status']['addresses'][0]['address'], node.get('pod', 'web')['status']['hostIP'],
                    node.get('endpoints', 'kubernetes')['subsets'][0]['addresses'][0]['ip'],
                    node.get('endpointslice', 'kubernetes')['endpoints'][0]['addresses'][0])
        self.assertEqual(seen(), ('192.0.2.10',) * 4)
        before = statuses(node)['web']['containers']
        node.run('ip', 'addr', 'flush', 'dev', 'uplink')
        time.sleep(1.5)
        self.assertEqual(seen(), ('192.0.2.10',) * 4, 'without any address the last one stays')
        node.run('ip', 'addr', 'add', '192.0.2.20/24', 'dev', 'uplink')
        harness.wait_for(lambda: seen() == ('192.0.2.20',) * 4, 10 * SLOW, message='all name the new address')
        # The certificates name it, the node is reached by it, and pods reach the API through their Service.
        answer = node.api('GET', '/readyz', address='192.0.2.20:6443')
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(node.kubectl('exec', 'web', '--', 'echo', 'in').stdout.strip(), 'in')
        node.kubectl('exec', 'web', '--', 'sh', '-c', 'nc -w 3 10.43.0.1 443 < /dev/null')
        self.assertEqual(statuses(node)['web']['containers'], before)

    @harness.needs_dns
    def test_an_add_on_that_is_disabled_later_goes(self):
        node = self.node('brume-ra')
        self.start(node)
        node.uids |= {p['metadata']['uid'] for p in node.wait_pods_ready('k8s-app=kube-dns', 1, ns='kube-system')}
        node.stop()
        node.flags = ['--disable', 'dns']
        self.start(node)
        harness.wait_for(lambda: not node.get('deployments,services,pods', '-n', 'kube-system')['items'], 20 * SLOW,
                         message='the DNS add-on is gone')
        self.assertNotIn('error', node.log.read_text())

    def assert_counts(self, node, name, least=20):
        """The container's numbers without a gap or a repeat, across its server's end."""
        lines = node.kubectl('logs', name).stdout.split('\n')[:-1]
        numbers = [int(line.split()[1]) for line in lines]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        self.assertGreaterEqual(len(numbers), least)

    def test_pods_deleted_and_created_around_a_sigkill(self):
        node = self.node('brume-rd', '--disable', 'dns')
        self.start(node)
        node.import_image(IMAGE)
        self.deploy(node, *[pod(f'p{i}', 'trap "" TERM; sleep 1000 & wait; wait') for i in range(4)])
        # Killed between the deletion and its end, and right after a creation.
        for i in range(4):
            node.kubectl('delete', 'pod', f'p{i}', '--wait=false')
        node.apply(pod('late', 'sleep 1000'))
        node.stop(signal.SIGKILL)
        self.start(node)
        harness.wait_for(lambda: {p['metadata']['name'] for p in node.get('pods')['items']} == {'late'}, 20 * SLOW,
                         message='deleted pods are gone')
        harness.wait_for(lambda: self.running(node, 'late'), 20 * SLOW, message='the late pod runs')
        late = node.get('pod', 'late')['metadata']['uid']
        node.uids.add(late)
        self.assertEqual([path for path in pod_processes(node) if late not in path], [], 'the deleted ones')
        self.assertEqual(len(pod_processes(node)), 2, 'the shim and one container')
        addresses = {path.name for path in (node.dir / 'data/network/ips').iterdir()}
        self.assertEqual(addresses, {node.get('pod', 'late')['status']['podIP']})
        # Force-deleted while the server is down is not possible, but a state dir that the API knows nothing of is: the node
        # ends what nobody asked for.
        node.kubectl('delete', 'pod', 'late', '--force', '--grace-period=0')
        node.stop(signal.SIGKILL)
        self.start(node)
        harness.wait_for(lambda: not pod_processes(node), 20 * SLOW, message='the orphan ends')
        harness.wait_for(lambda: not list((node.dir / 'data/network/ips').iterdir()), 5, message='its address is free')

    def test_kills_under_pod_churn(self):
        """Killed at random points while pods come and go: the pods asked for run in the end, and what is deleted leaves nothing."""
        node = self.node('brume-ch', '--disable', 'dns')
        self.start(node)
        node.import_image(IMAGE)
        seed = int(os.environ.get('BRUME_SEED', str(time.time_ns() % 1_000_000)))
        print('seed', seed)
        chance = random.Random(seed)
        template = {'metadata': {'labels': {'app': 'churn'}}, 'spec': pod('x', COUNTER, volumes=[{'name': 'e', 'emptyDir': {'medium': 'Memory'}}],
                    container={'volumeMounts': [{'name': 'e', 'mountPath': '/e'}]})['spec']}
        node.apply({'apiVersion': 'apps/v1', 'kind': 'Deployment', 'metadata': {'name': 'churn'},
                    'spec': {'replicas': 4, 'selector': {'matchLabels': {'app': 'churn'}}, 'template': template}})
        for _ in range(int(os.environ.get('BRUME_CHURN_KILLS', '12'))):
            what = chance.random()
            if what < 0.4:
                node.kubectl('scale', 'deploy', 'churn', '--replicas', str(chance.randint(0, 8)))
            elif what < 0.7:
                done = node.kubectl('rollout', 'restart', 'deploy', 'churn', check=False)
                # kubectl itself refuses a second one within a second.
                self.assertTrue(done.returncode == 0 or 'within the past second' in done.stderr, done.stderr)
            else:
                node.kubectl('delete', 'pods', '-l', 'app=churn', '--wait=false', *(['--force', '--grace-period=0'] if what > 0.85 else []))
            time.sleep(chance.uniform(0, 1.2))
            node.uids |= {item['metadata']['uid'] for item in node.get('pods')['items']}
            node.stop(signal.SIGKILL)
            node.start()
        node.kubectl('scale', 'deploy', 'churn', '--replicas', '5')
        ready = node.wait_pods_ready('app=churn', 5, 60 * SLOW)
        self.assertEqual(len({item['status']['podIP'] for item in ready}), 5, 'each has an address of its own')
        for item in ready:
            self.assert_counts(node, item['metadata']['name'], least=1)
        kept = {item['metadata']['uid'] for item in ready}
        node.uids |= kept
        harness.wait_for(lambda: {path.name for path in (node.dir / 'data/network/ips').iterdir()} == {item['status']['podIP'] for item in ready},
                         10 * SLOW, message='addresses are those of the pods')
        self.assertEqual([path for path in pod_processes(node) if not any(uid in path for uid in kept)], [])
        node.kubectl('delete', 'deploy', 'churn', '--timeout=30s')
        harness.wait_for(lambda: not node.get('pods')['items'], 30 * SLOW, message='no pod is left')
        harness.wait_for(lambda: not pod_cgroups(node), 5 * SLOW, message='no cgroup is left')
        harness.wait_for(lambda: str(node.dir) not in pathlib.Path('/proc/self/mountinfo').read_text(), 5 * SLOW, message='no mount is left')
        self.assertEqual([path.name for path in (node.dir / 'data/network/ips').iterdir()], [])
        links = [link['ifname'] for link in json.loads(node.run('ip', '-j', 'link').stdout)]
        self.assertEqual(sorted(links), ['brume0', 'lo'])
        for folder in ('data/pods', 'data/containers', 'logs', 'run'):
            harness.wait_for(lambda folder=folder: not [p for p in (node.dir / folder).iterdir() if p.is_dir()], 5 * SLOW, message=folder + ' is empty')

    def test_sigterm_is_quick_and_leaves_pods(self):
        node = self.node('brume-rt')
        self.start(node)
        node.import_image(IMAGE)
        # A pull that no one answers (the address is on the pods' bridge) and probes under way must not hold up the end either.
        pulling = pod('pulling', 'true')
        pulling['spec']['containers'][0]['image'] = '10.42.0.250:5000/nothing:1'
        node.apply(pulling)
        probe = {'exec': {'command': ['sleep', '5']}, 'timeoutSeconds': 8, 'periodSeconds': 1}
        self.deploy(node, SERVICE, pod('web', WEB), pod('counter', COUNTER), pod('probed', 'sleep 1000', container={'livenessProbe': probe}))
        address = node.get('service', 'web')['spec']['clusterIP']
        harness.wait_for(lambda: self.curl(node, address) == 'page', 10, message='the service answers')
        before = statuses(node)
        # Whatever holds a connection must not hold up the end: a watch, a followed log, an exec session, a port kept open.
        holders = [node.popen(node.kubectl_binary, *args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.PIPE)
                   for args in (['get', 'pods', '-w'], ['logs', '-f', 'counter'], ['exec', '-i', 'web', '--', 'cat'])]
        time.sleep(1)
        began = time.monotonic()
        self.assertEqual(node.stop(signal.SIGTERM), 0)
        took = time.monotonic() - began
        print(f'SIGTERM took {took:.2f} s')
        for holder in holders:
            holder.kill()
            holder.wait()
            holder.stdin.close()
        self.assertLess(took, 1.0 * SLOW)
        self.assertEqual(self.curl(node, address), 'page', 'the service answers while the server is down')
        print(f'start after SIGTERM {self.start(node):.2f} s')
        after = statuses(node)
        del before['pulling'], after['pulling']
        self.assertEqual(before, after)
        self.assert_counts(node, 'counter')

    def test_stop_pods_and_cleanup_leave_nothing(self):
        for how in ('stop-pods', 'cleanup', 'cleanup after SIGKILL'):
            with self.subTest(how):
                node = self.node('brume-rc' + how[-1], *(['--stop-pods'] if how == 'stop-pods' else []))
                self.start(node)
                node.import_image(IMAGE)
                host = pod('host', 'sleep 1000', hostNetwork=True)
                volumes = pod('volumes', 'sleep 1000', volumes=[{'name': 'e', 'emptyDir': {'medium': 'Memory'}}, {'name': 'd', 'emptyDir': {}}],
                              container={'volumeMounts': [{'name': 'e', 'mountPath': '/e'}, {'name': 'd', 'mountPath': '/d'}]})
                self.deploy(node, SERVICE, pod('web', WEB), host, volumes)
                self.assertNotEqual(pod_processes(node), {})
                self.assertEqual(node.stop(signal.SIGKILL if 'SIGKILL' in how else signal.SIGTERM), -9 if 'SIGKILL' in how else 0)
                if how == 'stop-pods':
                    self.assertEqual(pod_processes(node), {})
                result = node.cleanup(check=True)
                self.assertEqual(result.stderr, '')
                self.assertEqual(leftovers(node), [])
                self.assertEqual(node.cleanup(check=True).stderr, '', 'a second cleanup finds nothing to do')
                # The state is still there.
                self.start(node)
                harness.wait_for(lambda: self.running(node, 'web'), 20 * SLOW, message='the pod runs again')

    def test_refusals(self):
        node = self.node('brume-rr', '--disable-agent')
        node.start()
        second = node.run(harness.BRUME, 'server', '--data-dir', node.dir / 'data', '--state-dir', node.dir / 'run2', '--config',
                          '/dev/null', '--write-kubeconfig', node.dir / 'k2', '--https-listen-port', '7443', check=False, timeout=10)
        self.one_line(second, 'in use by another brume (pid ' + str(node.process.pid) + ')')
        taken = node.run(harness.BRUME, 'server', '--data-dir', node.dir / 'data2', '--state-dir', node.dir / 'run2', '--config',
                         '/dev/null', '--write-kubeconfig', node.dir / 'k2', '--disable-agent', check=False, timeout=10)
        self.one_line(taken, 'port 6443', 'taken')
        taken = node.run(harness.BRUME, 'server', '--data-dir', node.dir / 'data2', '--state-dir', node.dir / 'run2', '--config',
                         '/dev/null', '--write-kubeconfig', node.dir / 'k2', check=False, timeout=10)
        self.one_line(taken, 'port 6443', 'taken')
        cleanup = node.run(harness.BRUME, 'cleanup', '--data-dir', node.dir / 'data', '--state-dir', node.dir / 'run', check=False)
        self.one_line(cleanup, 'in use by another brume')
        self.one_line(node.run(harness.BRUME, 'server', '--no-such-flag', check=False), '--no-such-flag')
        self.one_line(node.run(harness.BRUME, 'server', '--cluster-cidr', '10.42.0.0/99', check=False), '--cluster-cidr')
        self.assertEqual(node.kubectl('get', '--raw', '/readyz').stdout, 'ok', 'the first goes on')

    def one_line(self, result, *parts):
        self.assertNotEqual(result.returncode, 0)
        errors = [line for line in result.stderr.splitlines() if not re.match(r'\S+Z (info|warn) ', line)]
        self.assertEqual(len(errors), 1, result.stderr)
        for part in parts:
            self.assertIn(part, errors[0])

    def test_full_disk_degrades_and_mends(self):
        node = self.node('brume-rf', '--disable-agent')
        data = node.dir / 'data'
        data.mkdir()
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'brume-rf', data], check=True)
        try:
            node.start()
            def put(i):
                return node.kubectl('create', 'configmap', f'c{i}', '--from-literal=v=' + str(i) * 1000, check=False)
            self.assertEqual(put(0).returncode, 0)
            with open(data / 'filler', 'wb', buffering=0) as filler:
                fill(filler)
            acknowledged, refused = [0], None
            for i in range(1, 40):
                result = put(i)
                if result.returncode == 0:
                    acknowledged.append(i)
                else:
                    refused = result
                    break
            self.assertIsNotNone(refused, 'a full disk refuses writes')
            self.assertIn('disk full', refused.stderr)
            names = {item['metadata']['name'] for item in node.get('configmaps')['items']}
            self.assertLessEqual({f'c{i}' for i in acknowledged}, names)
            self.assertIsNone(node.process.poll(), 'it goes on')
            self.assertIn('[-]store failed', node.kubectl('get', '--raw', '/readyz', check=False).stderr)
            self.assertEqual(node.kubectl('get', '--raw', '/livez').stdout, 'ok', 'a restart would not mend the disk')
            # A start on the full disk shows what is there, and writes as soon as there is space.
            for how in (signal.SIGKILL, signal.SIGTERM):
                node.stop(how)
                node.start(ready=False)
                harness.wait_for(lambda: node.kubectl('get', '--raw', '/livez', check=False).stdout == 'ok', 20, message='it starts')
                found = {item['metadata']['name'] for item in node.get('configmaps')['items']}
                self.assertLessEqual({f'c{i}' for i in acknowledged}, found)
                self.assertIn('disk full', put(98).stderr)
                self.assertIn('[-]store failed', node.kubectl('get', '--raw', '/readyz', check=False).stderr)
            (data / 'filler').unlink()
            harness.wait_for(lambda: put(98).returncode == 0, 10, message='writes go on once there is space')
            harness.wait_for(lambda: node.is_ready(), 10, message='it is ready')
            with open(data / 'filler', 'wb', buffering=0) as filler:
                fill(filler)
            harness.wait_for(lambda: put(99).returncode != 0, 10, message='the disk is full again')
            (data / 'filler').unlink()
            harness.wait_for(lambda: put(100).returncode == 0, 10, message='writes go on once there is space')
            self.assertEqual(node.kubectl('get', '--raw', '/readyz').stdout, 'ok')
            node.stop(signal.SIGKILL)
            node.start()
            names = {item['metadata']['name'] for item in node.get('configmaps')['items']}
            self.assertLessEqual({f'c{i}' for i in [*acknowledged, 98, 100]}, names)
            node.stop()
        finally:
            if node.process is not None:
                node.stop(signal.SIGKILL)
            subprocess.run(['umount', data], check=True)

    def test_a_node_short_of_disk_evicts_the_pod_that_took_it(self):
        node = self.node('brume-rd', '--eviction-hard', 'nodefs.available<25%')
        data = node.dir / 'data'
        data.mkdir()
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256m', 'brume-rd', data], check=True)
        try:
            self.start(node)
            node.import_image(IMAGE)
            self.deploy(node, pod('quiet', 'sleep 1000'),
                        pod('hungry', 'head -c 200000000 /dev/zero > /cache/f; sleep 1000', volumes=[{'name': 'cache', 'emptyDir': {}}],
                            container={'volumeMounts': [{'name': 'cache', 'mountPath': '/cache'}]}))
            found = harness.wait_for(lambda: (p := node.get('pod', 'hungry'))['status']['phase'] == 'Failed' and p, 40, message='it is evicted')
            self.assertEqual('Evicted', found['status']['reason'])
            self.assertRegex(found['status']['message'],
                             r'^The node was low on resource: ephemeral-storage\. Threshold quantity: \S+, available: \S+\. ')
            self.assertIn('TerminationByKubelet', [c.get('reason') for c in found['status']['conditions'] if c['type'] == 'DisruptionTarget'])
            self.assertEqual('Running', node.get('pod', 'quiet')['status']['phase'])
            conditions = {c['type']: c['status'] for c in node.get('nodes')['items'][0]['status']['conditions']}
            self.assertEqual('True', conditions['DiskPressure'])
            taints = [t['key'] for t in node.get('nodes')['items'][0]['spec'].get('taints', [])]
            self.assertIn('node.kubernetes.io/disk-pressure', taints)
        finally:
            node.stop()
            node.cleanup()
            subprocess.run(['umount', data], check=True)

    def test_start_on_a_read_only_disk_shows_what_is_there(self):
        node = self.node('brume-rr', '--disable-agent')
        data = node.dir / 'data'
        data.mkdir()
        subprocess.run(['mount', '-t', 'tmpfs', 'brume-rr', data], check=True)
        try:
            node.start()
            def put(name):
                return node.kubectl('create', 'configmap', name, '--from-literal=v=1', check=False)
            put('kept')
            for how in (signal.SIGKILL, signal.SIGTERM):
                node.stop(how)
                subprocess.run(['mount', '-o', 'remount,ro', data], check=True)
                node.start(ready=False)
                harness.wait_for(lambda: node.kubectl('get', '--raw', '/livez', check=False).stdout == 'ok', 20, message='it starts')
                self.assertIn('kept', node.kubectl('get', 'configmaps', '-o', 'name').stdout)
                refused = put('more')
                self.assertEqual(refused.returncode, 1)
                self.assertIn('read-only', refused.stderr)
                self.assertIn('[-]store failed', node.kubectl('get', '--raw', '/readyz', check=False).stderr)
                node.stop()
                subprocess.run(['mount', '-o', 'remount,rw', data], check=True)
                node.start()
                self.assertEqual(put('more-' + how.name.lower()).returncode, 0)
        finally:
            if node.process is not None:
                node.stop(signal.SIGKILL)
            subprocess.run(['umount', data], check=True)


if __name__ == '__main__':
    unittest.main()
