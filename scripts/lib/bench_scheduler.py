"""Scheduling measured: pods onto simulated nodes, through the whole API. Part of scripts/bench.py."""
import concurrent.futures
import contextlib
import datetime
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

LUA = pathlib.Path(__file__).with_name('bench.lua')
ZONES = 10
GROUPS = 20
CLIENTS = 64  # with 16, both cores idle for 15 % of the time while all wait for the disk
MIB = 1 << 20
POLL = 0.025  # seconds between looks at the metrics, which cost the server 0.2 ms and Python as much


def node(name, zone, pool):
    """A node that no kubelet stands behind; what is placed there stays as it is."""
    conditions = [{'type': 'Ready', 'status': 'True', 'reason': 'KubeletReady', 'message': 'simulated'}]
    amounts = {'cpu': '32', 'memory': '64Gi', 'ephemeral-storage': '100Gi', 'pods': '110'}
    labels = {'kubernetes.io/hostname': name, 'topology.kubernetes.io/zone': zone, 'bench.brume/pool': pool}
    return {'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': name, 'labels': labels},
            'status': {'capacity': amounts, 'allocatable': amounts, 'conditions': conditions}}


def pod_spec(cpu='100m', **fields):
    container = {'name': 'main', 'image': 'localhost/none:1', 'resources': {'requests': {'cpu': cpu, 'memory': '64Mi'}}}
    return {'terminationGracePeriodSeconds': 0, 'containers': [container], **fields}


def own_group():
    return {'matchLabels': {'group': 'gGROUP'}}


def apart():
    term = {'labelSelector': own_group(), 'topologyKey': 'kubernetes.io/hostname'}
    return {'affinity': {'podAntiAffinity': {'requiredDuringSchedulingIgnoredDuringExecution': [term]}}}


def spread():
    return {'topologySpreadConstraints': [
        {'maxSkew': 1, 'topologyKey': 'topology.kubernetes.io/zone', 'whenUnsatisfiable': 'DoNotSchedule', 'labelSelector': own_group()},
        {'maxSkew': 2, 'topologyKey': 'kubernetes.io/hostname', 'whenUnsatisfiable': 'ScheduleAnyway', 'labelSelector': own_group()}]}


class SchedulerBench:
    def __init__(self, bench):
        self.bench, self.api = bench, bench.api
        self.nodes, self.pods = bench.options.nodes, bench.options.scheduler_pods
        self.names = [f'sim-{i}' for i in range(self.nodes)]
        self.stop = threading.Event()

    # Nodes -------------------------------------------------------------------------------------------------------------

    def in_parallel(self, work, items, clients=8):
        def some(part):
            api = self.bench.cluster.connect()
            for item in part:
                work(api, item)
            api.close()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            list(pool.map(some, [items[i::clients] for i in range(clients)]))

    def make_nodes(self):
        for real in self.api.get('/api/v1/nodes')['items']:
            self.api.patch(f'/api/v1/nodes/{real["metadata"]["name"]}', {'spec': {'unschedulable': True}})

        def make(api, i):
            name = self.names[i]
            api.create('/api/v1/nodes', node(name, f'zone-{i % ZONES}', 'small' if i < 40 else 'large'), allow=(409,))
            lease = {'apiVersion': 'coordination.k8s.io/v1', 'kind': 'Lease', 'metadata': {'name': name},
                     'spec': {'holderIdentity': name, 'leaseDurationSeconds': 40}}
            api.create('/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases', lease, allow=(409,))
        self.in_parallel(make, range(self.nodes))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # the node controller takes off what it puts on new nodes
            if not any(n['spec'].get('taints') for n in self.api.get('/api/v1/nodes?labelSelector=bench.brume/pool')['items']):
                return
            time.sleep(0.2)
        raise SystemExit('the simulated nodes keep their taints')

    def beat(self):
        """Signs of life, so that the node controller leaves the nodes alone however long this takes."""
        while not self.stop.wait(20):
            now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%S.%fZ')

            def renew(api, name):
                api.patch(f'/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}', {'spec': {'renewTime': now}})
            with contextlib.suppress(OSError):
                self.in_parallel(renew, self.names, 2)

    # Pods --------------------------------------------------------------------------------------------------------------

    def counters(self, result):
        """How many pods were created through the API, and how many attempts had this result."""
        text = self.api.send('GET', '/metrics')[1].decode()
        created = re.findall(r'^apiserver_request_total\{verb="create",group="",resource="pods",subresource="".*\} (\d+)', text, re.M)
        attempts = re.findall(rf'^scheduler_schedule_attempts_total\{{.*result="{result}".*\}} (\d+)', text, re.M)
        return sum(map(int, created)), sum(map(int, attempts))

    def scheduled(self):
        return self.counters('scheduled')[1]

    def create(self, path, name, spec, count):
        """Starts creating `count` pods of the spec; the process to wait for."""
        body = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'NAME', 'labels': {'group': 'gGROUP'}}, 'spec': spec}
        with tempfile.NamedTemporaryFile('w', suffix='.json', dir=os.environ.get('TMPDIR'), delete=False) as file:
            json.dump(body, file, separators=(',', ':'))
        return subprocess.Popen(
            ['wrk', '-t', '1', '-c', str(CLIENTS), '-d', '600s', '--timeout', '30s', '-H', 'Authorization: Bearer ' + self.token, '-s', LUA,
             self.bench.cluster.url + path + '/pods', '--', 'BODIES', name, file.name, str(count), str(GROUPS)],
            stdout=subprocess.PIPE, text=True), file.name

    def place(self, path, name, spec, count, seconds=60, result='scheduled'):
        """The seconds from the last look that found no pod created, when wrk still made its connections, to the first that
        found all bound (or their attempts with another result)."""
        created_before, before = self.counters(result)
        started = began = time.monotonic()
        process, file = self.create(path, name, spec, count)
        try:
            while True:
                looked = time.monotonic()
                created, done = self.counters(result)
                if done - before >= count:
                    break
                if created == created_before:
                    began = looked
                if looked - started > seconds:
                    raise SystemExit(f'{done - before} of {count} pods ({name}) were {result} within {seconds} s')
                time.sleep(POLL)
            took = time.monotonic() - began
            self.client_cpu = self.bench.cpu_of([process.pid])
        finally:
            process.send_signal(signal.SIGINT)  # its thread has ended; the rest of it waits for the time it was given
            out = process.communicate(timeout=10)[0]
            os.unlink(file)
        result = json.loads(out.strip().splitlines()[-1])
        if result['failed']:
            raise SystemExit(f'{result["failed"]} requests of wrk failed:\n{out}')
        return took

    def clear(self, path):
        self.api.delete(f'{path}/pods')
        deadline = time.monotonic() + 300
        while self.api.get(f'{path}/pods?limit=1')['items']:
            if time.monotonic() > deadline:
                raise SystemExit('the pods do not go away')
            time.sleep(0.2)

    def measure(self, text, spec, count, floor):
        _, path = self.bench.namespace('sched', pods=True)
        with self.bench.cpu() as cpu:
            took = self.place(path, 'p', spec, count)
        self.bench.add(f'{text}: {count} pods onto {self.nodes} nodes', count / took, 'pods/s', floor, at_least=True)
        self.bench.add_cpu(f'  {text}, server CPU each', cpu, count)
        self.bench.add(f'  {text}, load generator CPU each', self.client_cpu / count * 1e3, 'ms')
        return path

    def cordon(self, closed):
        self.in_parallel(lambda api, name: api.patch(f'/api/v1/nodes/{name}', {'spec': {'unschedulable': closed}}), self.names)

    def measure_waiting(self, count):
        """The scheduler's own rate: all pods are there and wait when the nodes, which were cordoned, open. Those that it places
        before the last node is open are left out, as is that time."""
        _, path = self.bench.namespace('sched', pods=True)
        self.cordon(True)
        self.place(path, 'w', pod_spec(), count, result='unschedulable')
        time.sleep(2)  # their back-off ends
        before = self.scheduled()
        self.cordon(False)
        with self.bench.cpu() as cpu:
            first, began = self.scheduled() - before, time.monotonic()
            while (done := self.scheduled() - before) < count:
                if time.monotonic() - began > 60:
                    raise SystemExit(f'{done} of {count} waiting pods were placed within 60 s')
                time.sleep(POLL)
            took = time.monotonic() - began
        self.bench.add(f'plain, waiting: {count - first} of {count} pods', (count - first) / took, 'pods/s', 5000, at_least=True)
        self.bench.add_cpu('  plain, waiting, server CPU each', cpu, count - first)
        self.clear(path)

    def preempt(self):
        """Each node is full of one pod of low priority; as many of high priority come."""
        self.api.create('/apis/scheduling.k8s.io/v1/priorityclasses', {
            'apiVersion': 'scheduling.k8s.io/v1', 'kind': 'PriorityClass', 'metadata': {'name': 'bench-high'}, 'value': 1000}, allow=(409,))
        _, path = self.bench.namespace('sched', pods=True)
        count = min(1000, self.nodes)
        self.place(path, 'low', pod_spec('30'), self.nodes)
        with self.bench.cpu() as cpu:
            took = self.place(path, 'high', pod_spec('30', priorityClassName='bench-high'), count)
        self.bench.add(f'preemption: {count} pods send {count} others away', count / took, 'pods/s')
        self.bench.add_cpu('  preemption, server CPU each', cpu, count)
        self.clear(path)

    def map(self):
        """Where 200 pods go on 40 nodes: one character a node, its number of pods."""
        digits = '.123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
        for scheduler, text in (('default-scheduler', 'spread'), ('bin-packing', 'packed')):
            _, path = self.bench.namespace('sched', pods=True)
            self.place(path, 'm', pod_spec('1', schedulerName=scheduler, nodeSelector={'bench.brume/pool': 'small'}), 200)
            counts = dict.fromkeys(self.names[:40], 0)
            for pod in self.api.get(f'{path}/pods')['items']:
                counts[pod['spec']['nodeName']] += 1
            if not self.bench.options.json:
                print(f'  200 pods, {text:7} {"".join(digits[n] for n in counts.values())}', flush=True)
            self.bench.add(f'200 pods {text}: nodes in use', sum(1 for n in counts.values() if n), '')
            self.clear(path)

    def run(self):
        self.token = self.bench.account()
        self.make_nodes()
        heart = threading.Thread(target=self.beat, daemon=True)
        heart.start()
        try:
            self.bench.add('load average before', os.getloadavg()[0], '')
            path = self.measure('plain', pod_spec(), self.pods, 5000)
            time.sleep(2)
            if self.bench.roots:
                self.bench.add('  server memory then (PSS)', self.bench.memory_now() / MIB, 'MiB')
            self.clear(path)
            self.measure_waiting(self.pods)
            self.clear(self.measure('anti-affinity', pod_spec(**apart()), self.pods, 1000))
            self.clear(self.measure('topology spread', pod_spec(**spread()), self.pods, 1000))
            self.preempt()
            self.map()
            self.bench.add('load average after', os.getloadavg()[0], '')
        finally:
            self.stop.set()
            heart.join()
