"""The figures of docs/design's budgets, measured: see scripts/bench.sh --help, which starts this."""
import argparse
import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / 'lib'))
from bench_scheduler import SchedulerBench  # noqa: E402
import bench_workloads  # noqa: E402
from kube import ApiError, Cluster, condition  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
IMAGE = 'localhost/bench:1'
TICK = os.sysconf('SC_CLK_TCK')
MIB = 1 << 20
# What a pod of the bench runs: it ends at once when told to, and otherwise never.
COMMAND = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1000000 & wait $!; done']
STEPS = ('start', 'idle', 'binary', 'memory', 'pods', 'deployment', 'create', 'get', 'list', 'watch', 'workloads', 'scheduler')


@dataclasses.dataclass
class Figure:
    name: str
    value: float
    unit: str
    budget: float | None = None
    at_least: bool = False  # the budget is a floor

    @property
    def verdict(self):
        if self.budget is None:
            return ''
        return 'ok' if (self.value >= self.budget if self.at_least else self.value <= self.budget) else 'over'


# Processes -----------------------------------------------------------------------------------------------------------

def children_of(roots):
    """`roots` and every process below them."""
    below = {}
    for entry in pathlib.Path('/proc').iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = (entry / 'stat').read_text()
                below.setdefault(int(stat.rsplit(')', 1)[1].split()[1]), []).append(int(entry.name))
    found, queue = [], list(roots)
    while queue:
        pid = queue.pop()
        if pid not in found:
            found.append(pid)
            queue += below.get(pid, [])
    return [p for p in found if pathlib.Path(f'/proc/{p}').exists()]


def cpu_seconds(pids):
    """User and system time of the processes, threads that have ended included."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def pss(pid):
    with contextlib.suppress(OSError):
        return int(re.search(r'^Pss:\s+(\d+)', pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text(), re.M).group(1)) * 1024
    return 0


def bytes_written(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(re.search(r'^write_bytes: (\d+)', pathlib.Path(f'/proc/{pid}/io').read_text(), re.M).group(1))
    return total


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


class OwnServer:
    """build/brume, started here, with its files in a temporary directory."""

    def __init__(self, binary, keep):
        self.binary, self.keep = binary, keep
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='brume-bench-'))
        self.dirs = ['--data-dir', self.dir / 'data', '--state-dir', self.dir / 'run', '--log-dir', self.dir / 'logs']
        self.kubeconfig = self.dir / 'kubeconfig.yaml'
        self.process = None

    def start(self):
        with open(self.dir / 'server.log', 'ab') as log:
            self.process = subprocess.Popen([self.binary, 'server', *self.dirs, '--write-kubeconfig', self.kubeconfig, '--config', '/dev/null'],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def import_image(self):
        archive = self.dir / 'image.tar'
        subprocess.run([sys.executable, ROOT / 'scripts/make-image.py', IMAGE, archive], check=True)
        subprocess.run([self.binary, 'image', 'import', archive, '--kubeconfig', self.kubeconfig], check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        subprocess.run([self.binary, 'cleanup', *self.dirs], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)


class WatchTap:
    """A watch whose bytes are read as they come and decrypted later: a hundred readers in one process would otherwise take
    more time for an event than the server does."""

    def __init__(self, cluster, path):
        self.reads = []  # (when, bytes)
        self.socket = socket.create_connection((cluster.host, cluster.port))
        self.incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = cluster.tls.wrap_bio(self.incoming, outgoing, server_hostname=cluster.host)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.sendall(outgoing.read())
                data = self.socket.recv(65536)
                if not data:
                    raise ConnectionError('the server ended the connection in its handshake')
                self.incoming.write(data)
        token = f'Authorization: Bearer {cluster.token}\r\n' if cluster.token else ''
        self.tls.write(f'GET {path} HTTP/1.1\r\nHost: {cluster.host}\r\nAccept: application/json\r\n{token}\r\n'.encode())
        self.socket.sendall(outgoing.read())

    def texts(self):
        """(when, plain text) of each read."""
        for when, data in self.reads:
            self.incoming.write(data)
            text = b''
            with contextlib.suppress(ssl.SSLWantReadError):
                while part := self.tls.read(65536):
                    text += part
            yield when, text


class Bench:
    def __init__(self, options, server):
        self.options, self.server = options, server
        self.figures = []
        self.roots = list(options.server_pid)
        self.cluster = self.api = None
        self.namespaces = []
        self.numbers = itertools.count()
        self.token = ''

    def add(self, name, value, unit, budget=None, at_least=False):
        figure = Figure(name, value, unit, budget, at_least)
        self.figures.append(figure)
        if not self.options.json:
            wanted = '' if budget is None else f'{">=" if at_least else "<="} {budget:g}'
            print(f'{name:52} {value:12,.3f} {unit:8} {wanted:>12}  {figure.verdict}', flush=True)

    def processes(self):
        """The servers' own processes, add-ons and shims included, the bench's pods not: it is asked while none run."""
        return children_of(self.roots)

    cpu_of = staticmethod(cpu_seconds)

    @contextlib.contextmanager
    def cpu(self):
        """Gives a function for the servers' CPU seconds in the block, without what the pods use."""
        before, out = cpu_seconds(self.roots), {}
        yield out
        out['seconds'] = cpu_seconds(self.roots) - before

    def connect(self):
        self.cluster = Cluster(self.options.kubeconfig or self.server.kubeconfig)
        self.api = self.cluster.connect()

    def namespace(self, name, pods=False):
        """A namespace of the bench's own. Pods are refused in it before its default account is there."""
        name = f'bench-{name}-{os.getpid()}-{next(self.numbers)}'
        self.api.create('/api/v1/namespaces', {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': name}})
        self.namespaces.append(name)
        path = f'/api/v1/namespaces/{name}'
        if not pods:
            return name, path
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.api.call('GET', f'{path}/serviceaccounts/default', allow=(404,)).get('kind') == 'ServiceAccount':
                return name, path
            time.sleep(0.02)
        raise SystemExit('the default service account does not appear')

    # Start, idle, size -------------------------------------------------------------------------------------------------

    def start(self):
        began = time.monotonic()
        self.server.start()
        self.roots = [self.server.process.pid]

        def until(what, seconds=60):
            while time.monotonic() - began < seconds:
                with contextlib.suppress(OSError, ApiError, KeyError, AttributeError):
                    if what():
                        return time.monotonic() - began
                if self.server.process.poll() is not None:
                    raise SystemExit('the server has ended; its log:\n' + (self.server.dir / 'server.log').read_text()[-2000:])
                time.sleep(0.002)
            raise SystemExit('the server does not become ready')

        def ready():
            if self.api is None:
                self.connect()
            try:
                return self.api.send('GET', '/readyz')[0] == 200
            except OSError:
                self.api = None
                raise

        readyz = until(ready)
        node = until(lambda: any(condition(n, 'Ready') for n in self.api.get('/api/v1/nodes')['items']))
        dns = until(lambda: any(condition(d, 'Available') for d in self.api.get('/apis/apps/v1/namespaces/kube-system/deployments')['items']))
        if 'start' in self.options.only:
            self.add('start to /readyz', readyz * 1e3, 'ms', 100)
            self.add('start to node Ready', node * 1e3, 'ms', 500)
            self.add('start to DNS available', dns * 1e3, 'ms')
        self.server.import_image()

    def idle(self):
        if not self.roots:
            return
        time.sleep(10)  # what the start left to do
        pids = self.processes()
        cpu, written = cpu_seconds(pids), bytes_written(pids)
        time.sleep(self.options.idle_seconds)
        minutes = self.options.idle_seconds / 60
        sizes = {p: pss(p) for p in self.processes()}
        self.add('idle memory, all processes (PSS)', sum(sizes.values()) / MIB, 'MiB', 32)
        for pid, size in sorted(sizes.items(), key=lambda item: -item[1]):
            with contextlib.suppress(OSError):
                arguments = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
                self.add('  ' + ' '.join(os.path.basename(a.decode()) for a in arguments[:2])[:40], size / MIB, 'MiB')
        self.add('idle CPU', (cpu_seconds(pids) - cpu) / self.options.idle_seconds * 100, '% core', 0.2)
        self.add('idle disk writes', (bytes_written(pids) - written) / minutes, 'B/min', 0)

    def binary(self):
        if self.roots:
            sizes = {os.path.realpath(f'/proc/{p}/exe'): os.stat(f'/proc/{p}/exe').st_size for p in self.roots}
            self.add('binary, stripped', sum(sizes.values()) / MIB, 'MiB', 16)

    # Pods --------------------------------------------------------------------------------------------------------------

    def pod_spec(self):
        return {'containers': [{'name': 'main', 'image': self.options.image, 'imagePullPolicy': 'IfNotPresent', 'command': COMMAND}],
                'terminationGracePeriodSeconds': 5}

    def pods(self):
        """One pod after the other: from the request to the watch event that says Running, and from delete to gone."""
        _, path = self.namespace('pods', pods=True)
        version = self.api.get(f'{path}/pods')['metadata']['resourceVersion']
        events = self.cluster.connect(timeout=60).watch(f'{path}/pods', version)
        running, gone = [], []
        with self.cpu() as cpu:
            for i in range(self.options.pods):
                name = f'pod-{i}'
                began = time.monotonic()
                self.api.create(f'{path}/pods', {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name}, 'spec': self.pod_spec()})
                next(1 for kind, pod in events if pod['metadata']['name'] == name and pod['status'].get('phase') == 'Running')
                running.append((time.monotonic() - began) * 1e3)
                time.sleep(0.1)  # the shell has its trap set by then, so that it ends when it is told to
                began = time.monotonic()
                self.api.delete(f'{path}/pods/{name}')
                next(1 for kind, pod in events if kind == 'DELETED' and pod['metadata']['name'] == name)
                gone.append((time.monotonic() - began) * 1e3)
        self.add('pod created to Running, p50', percentile(running, 50), 'ms', 30)
        self.add('pod created to Running, p99', percentile(running, 99), 'ms', 80)
        self.add('pod deleted to gone, p50', percentile(gone, 50), 'ms', 50)
        self.add('pod deleted to gone, p99', percentile(gone, 99), 'ms')
        self.add_cpu('  server CPU for each pod', cpu, len(running))

    def deployment(self):
        name, path = self.namespace('deploy', pods=True)
        replicas, labels = 30, {'app': 'bench'}
        apps = f'/apis/apps/v1/namespaces/{name}/deployments'
        version = self.api.get(apps)['metadata']['resourceVersion']
        events = self.cluster.connect(timeout=120).watch(apps, version)
        began = time.monotonic()
        self.api.create(apps, {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'metadata': {'name': 'bench'}, 'spec': {
            'replicas': replicas, 'selector': {'matchLabels': labels}, 'template': {'metadata': {'labels': labels}, 'spec': self.pod_spec()}}})
        next(1 for _, d in events if d['status'].get('readyReplicas') == replicas)
        self.add(f'Deployment of {replicas} to Ready', time.monotonic() - began, 's', 0.6)
        pods = self.api.get(f'{path}/pods')
        left = {p['metadata']['name'] for p in pods['items']}
        watch = self.cluster.connect(timeout=120).watch(f'{path}/pods', pods['metadata']['resourceVersion'])
        began = time.monotonic()
        self.api.delete(f'{apps}/bench', {'apiVersion': 'v1', 'kind': 'DeleteOptions', 'propagationPolicy': 'Background'})
        while left:
            kind, pod = next(watch)
            if kind == 'DELETED':
                left.discard(pod['metadata']['name'])
        self.add(f'Deployment of {replicas} deleted to gone', time.monotonic() - began, 's', 0.6)

    # Requests ----------------------------------------------------------------------------------------------------------

    def add_cpu(self, name, cpu, operations, budget=None):
        if self.roots:
            self.add(name, cpu['seconds'] / max(1, operations) * 1e3, 'ms', budget)

    def account(self):
        """A token for wrk, which speaks no client certificates."""
        if self.token:
            return self.token
        name, path = self.namespace('load')
        self.api.create(f'{path}/serviceaccounts', {'apiVersion': 'v1', 'kind': 'ServiceAccount', 'metadata': {'name': 'load'}})
        binding = {'apiVersion': 'rbac.authorization.k8s.io/v1', 'kind': 'ClusterRoleBinding', 'metadata': {'name': name},
                   'roleRef': {'apiGroup': 'rbac.authorization.k8s.io', 'kind': 'ClusterRole', 'name': 'cluster-admin'},
                   'subjects': [{'kind': 'ServiceAccount', 'name': 'load', 'namespace': name}]}
        self.api.create('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', binding)
        request = {'apiVersion': 'authentication.k8s.io/v1', 'kind': 'TokenRequest', 'spec': {'expirationSeconds': 3600}}
        self.token = self.api.create(f'{path}/serviceaccounts/load/token', request)['status']['token']
        return self.token

    def wrk(self, path, clients, *arguments):
        """Loads the server: Python would take more time for a request than the server does. The pair: wrk's result, CPU."""
        token = self.account()
        with self.cpu() as cpu:
            out = subprocess.run(['wrk', '-t', str(min(2, clients)), '-c', str(clients), '-d', f'{self.options.seconds}s', '--timeout', '10s',
                                  '-H', 'Authorization: Bearer ' + token, '-s', ROOT / 'scripts/lib/bench.lua', self.cluster.url + path,
                                  '--', *arguments], capture_output=True, text=True, check=True).stdout
        result = json.loads(out.strip().splitlines()[-1])
        if result['failed']:
            raise SystemExit(f'{result["failed"]} of {result["requests"]} requests of wrk failed:\n{out}')
        return result, cpu

    def sync_time(self):
        """What this disk takes to make 4 KiB durable: no durable write, nor the watch event of it, can be faster."""
        times = []
        with tempfile.TemporaryFile(dir=self.server.dir) as file:
            file.truncate(1 << 20)
            for number in range(200):
                start = time.monotonic()
                os.pwrite(file.fileno(), os.urandom(4096), number * 4096)
                os.fdatasync(file.fileno())
                times.append(time.monotonic() - start)
                time.sleep(0.002)
        self.add('fdatasync of 4 KiB on this disk, p50', percentile(times, 50) * 1e3, 'ms')

    def create(self):
        if self.server:
            self.sync_time()
        _, path = self.namespace('create')
        for clients, budget in ((1, 1500), (16, 8000)):
            result, cpu = self.wrk(f'{path}/configmaps', clients, 'POST', f'c{clients}', '256')
            text = f'durable create, {clients} client{"s" if clients > 1 else ""}'
            self.add(text, result['requests'] / result['seconds'], '/s', budget, at_least=True)
            self.add(f'  {text}, p99', result['p99_ms'], 'ms')
            self.add_cpu(f'  {text}, server CPU each', cpu, result['requests'], 0.12)

    def get(self):
        _, path = self.namespace('get')
        self.api.create(f'{path}/configmaps', config_map('one', 1024))
        result, cpu = self.wrk(f'{path}/configmaps/one', 16, 'GET')
        self.add('GET, 16 clients', result['requests'] / result['seconds'], '/s', 2650, at_least=True)
        self.add('  GET, p99', result['p99_ms'], 'ms')
        self.add_cpu('  GET, server CPU each', cpu, result['requests'], 0.05)

    def list(self):
        _, path = self.namespace('list')
        self.fill(path, 1000, 2048)
        result, cpu = self.wrk(f'{path}/configmaps?resourceVersion=0', 4, 'GET')
        self.add('LIST of 1000 x 2 KiB, 4 clients', result['requests'] / result['seconds'], '/s', 85, at_least=True)
        self.add('  LIST, volume', result['bytes'] / result['seconds'] / 1e6, 'MB/s')
        self.add_cpu('  LIST, server CPU each', cpu, result['requests'], 1.2)

    def fill(self, path, count, size):
        """Makes `count` ConfigMaps by a few clients at once."""
        def some(numbers):
            api = self.cluster.connect()
            for number in numbers:
                api.create(f'{path}/configmaps', config_map(f'o-{number}', size))
            api.close()
        clients = 8
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            list(pool.map(some, [range(i, count, clients) for i in range(clients)]))

    def watch(self):
        """From the moment a create is sent to the moment each of 100 watchers has read the event."""
        _, path = self.namespace('watch')
        watchers, writes = 100, 200
        version = self.api.get(f'{path}/configmaps')['metadata']['resourceVersion']
        taps = [WatchTap(self.cluster, f'{path}/configmaps?watch=1&resourceVersion={version}') for _ in range(watchers)]
        reads = {tap.socket.fileno(): tap.reads for tap in taps}
        poll = select.epoll()
        for fd in reads:
            poll.register(fd, select.EPOLLIN)

        def write(results):  # in a process of its own: it does not wait for the reader's turn
            api = self.cluster.connect()
            sent = []
            for number in range(writes):
                body = config_map(f'w-{number}', 256)
                sent.append(time.monotonic())
                api.create(f'{path}/configmaps', body)
                time.sleep(0.03)  # the watchers are through with one event before the next
            results.send(sent)

        with self.cpu() as cpu:
            results, there = multiprocessing.Pipe(duplex=False)
            writer = multiprocessing.get_context('fork').Process(target=write, args=(there,))
            writer.start()
            there.close()
            quiet, deadline = 0, time.monotonic() + 120
            while (writer.is_alive() or quiet < 10) and time.monotonic() < deadline:
                ready = poll.poll(0.1)
                quiet = 0 if ready else quiet + 1
                for fd, _ in ready:
                    data = os.read(fd, 65536)
                    reads[fd].append((time.monotonic(), data))
                    if not data:
                        poll.unregister(fd)
        if not results.poll():
            writer.kill()
            raise TimeoutError('the writes were not answered in time')
        sent = results.recv()
        writer.join()
        name = re.compile(rb'"name":"w-(\d+)"')
        arrived = [when - sent[int(number)] for tap in taps for when, text in tap.texts() for number in name.findall(text)]
        if len(arrived) != watchers * writes:
            print(f'warning: {len(arrived)} of {watchers * writes} events were seen', file=sys.stderr)
        self.add('watch delivery, 100 watchers, p50', percentile(arrived, 50) * 1e3, 'ms', 1)
        self.add('watch delivery, 100 watchers, p99', percentile(arrived, 99) * 1e3, 'ms', 3)
        self.add_cpu('  server CPU for each event', cpu, len(arrived))

    def memory(self):
        if not self.roots:
            return
        _, path = self.namespace('memory')
        self.fill(path, 10_000, 1024)
        time.sleep(5)
        self.add('server memory with 10,000 ConfigMaps (PSS)', sum(map(pss, self.roots)) / MIB, 'MiB', 60)

    def workloads(self):
        """Idle among many workloads; what their pods use is left out."""
        if not self.roots:
            return
        name, _ = self.namespace('workloads', pods=True)
        bench_workloads.make(self.api, name, self.pod_spec())
        time.sleep(30)  # the autoscalers' figures come to rest
        cpu, written = cpu_seconds(self.roots), bytes_written(self.roots)
        time.sleep(self.options.idle_seconds)
        self.add('CPU with 200 Deployments, 50 CronJobs, 20 HPAs', (cpu_seconds(self.roots) - cpu) / self.options.idle_seconds * 100, '% core', 1)
        self.add('  disk writes', (bytes_written(self.roots) - written) * 60 / self.options.idle_seconds, 'B/min')
        self.add('  server memory (PSS)', self.memory_now() / MIB, 'MiB')

    def memory_now(self):
        return sum(map(pss, self.roots))

    def scheduler(self):
        SchedulerBench(self).run()

    # Everything --------------------------------------------------------------------------------------------------------

    def run(self):
        if self.server:
            self.start()
        else:
            self.connect()
        for step in STEPS[1:]:
            if step in self.options.only:
                getattr(self, step)()
                if step in ('memory', 'create', 'list', 'watch', 'workloads'):
                    self.forget()  # so that the next figure does not measure this one's objects

    def forget(self):
        while self.namespaces:
            name = self.namespaces.pop()
            self.token = ''
            self.api.delete(f'/api/v1/namespaces/{name}')
            self.api.delete(f'/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{name}')
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and self.api.send('GET', f'/api/v1/namespaces/{name}')[0] != 404:
                time.sleep(0.1)


def config_map(name, size):
    return {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name}, 'data': {'padding': 'x' * size}}


def main():
    parser = argparse.ArgumentParser(prog='scripts/bench.sh')
    parser.add_argument('--kubeconfig')
    parser.add_argument('--server-pid', type=int, action='extend', nargs='+', default=[])
    parser.add_argument('--image', default=IMAGE)
    parser.add_argument('--only', type=lambda text: text.split(','), default=list(STEPS))
    parser.add_argument('--idle-seconds', type=float, default=60)
    parser.add_argument('--seconds', type=int, default=5, help='of each load')
    parser.add_argument('--pods', type=int, default=50)
    parser.add_argument('--nodes', type=int, default=1000, help='simulated, for the scheduler')
    parser.add_argument('--scheduler-pods', type=int, default=10_000)
    parser.add_argument('--brume', default=ROOT / 'build/brume')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--keep', action='store_true')
    options = parser.parse_args()
    if unknown := set(options.only) - set(STEPS):
        parser.error('--only: no such figure: ' + ', '.join(sorted(unknown)))
    if options.kubeconfig and options.image == IMAGE and {'pods', 'deployment', 'workloads'} & set(options.only):
        parser.error('--kubeconfig needs --image for the figures "pods", "deployment" and "workloads"')
    server = None if options.kubeconfig else OwnServer(options.brume, options.keep)
    bench = Bench(options, server)
    try:
        bench.run()
        if options.kubeconfig:
            bench.forget()
    finally:
        if server:
            server.stop()
    if options.json:
        print(json.dumps([{**dataclasses.asdict(f), 'verdict': f.verdict} for f in bench.figures], indent=1))


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
