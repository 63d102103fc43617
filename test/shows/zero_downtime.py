"""Requests through a Service while what serves them is rolled, scaled and loses its server: none may fail."""
import json
import pathlib
import signal
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'test/e2e'))

from harness import IMAGE, Node, service, wait_for  # noqa: E402 (the path comes first)

# Long enough for every node's rules to have forgotten a pod before its server ends (KEP-3960), and for a connection that the server
# had no room for: busybox's httpd lets nine wait, a client asks again each second (or after one and after three: RFC 6298), and connection
# tracking sends it where it asked first.
DRAIN_SECONDS = 4
SERVE = 'mkdir /www; echo "$ROLL" > /www/index.html; exec httpd -f -p 80 -h /www'


def workload(kind, name):
    """A web server of three replicas as a careful user writes it: ready when it answers, and draining before it ends."""
    container = {'name': 'web', 'image': IMAGE, 'command': ['sh', '-c', SERVE], 'env': [{'name': 'ROLL', 'value': '0'}],
                 'ports': [{'containerPort': 80}],
                 'readinessProbe': {'httpGet': {'port': 80}, 'periodSeconds': 1},
                 'lifecycle': {'preStop': {'sleep': {'seconds': DRAIN_SECONDS}}}}
    spec = {'replicas': 3, 'selector': {'matchLabels': {'app': name}},
            'template': {'metadata': {'labels': {'app': name}},
                         'spec': {'terminationGracePeriodSeconds': DRAIN_SECONDS + 1, 'containers': [container]}}}
    if kind == 'StatefulSet':
        spec['serviceName'] = name
    else:
        spec['strategy'] = {'rollingUpdate': {'maxSurge': 1, 'maxUnavailable': 0}}
    return {'apiVersion': 'apps/v1', 'kind': kind, 'metadata': {'name': name}, 'spec': spec}


class Client:
    """A network namespace beside the node's, joined by a veth, which reaches Services by node port as a machine of the same net does."""

    ADDRESS, GATEWAY = '192.0.2.2', '192.0.2.1'

    def __init__(self, node):
        self.name, self.node = node.name + '-client', node
        link = 'client'
        for command in (f'ip netns add {self.name}', f'ip -n {node.name} link add {link} type veth peer name eth0 netns {self.name}',
                        f'ip -n {node.name} addr add {self.GATEWAY}/30 dev {link}', f'ip -n {node.name} link set {link} up',
                        f'ip -n {self.name} addr add {self.ADDRESS}/30 dev eth0', f'ip -n {self.name} link set eth0 up',
                        f'ip -n {self.name} link set lo up'):
            subprocess.run(command.split(), check=True)

    def destroy(self):
        subprocess.run(['ip', 'netns', 'delete', self.name], check=False)


class Loads:
    """Requests from the node to the Service's address and from the client to its node port, half each."""

    def __init__(self, node, client, name, requests, rate):
        spec = json.loads(node.kubectl('get', 'service', name, '-o', 'json').stdout)['spec']
        port = spec['ports'][0]['nodePort']
        targets = ((node.name, f'http://{spec["clusterIP"]}/'), (client.name, f'http://{client.GATEWAY}:{port}/'))
        self.processes = [self.start(namespace, url, requests // 2, rate / 2) for namespace, url in targets]
        self.reports = [None, None]
        self.readers = [threading.Thread(target=self.read, args=(i,)) for i in range(2)]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def start(namespace, url, requests, rate):
        command = ['nsenter', '--net=/run/netns/' + namespace, sys.executable, ROOT / 'test/shows/load.py', '--requests', str(requests),
                   '--rate', str(rate), url]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, i):
        self.reports[i] = json.loads(self.processes[i].stdout.readline() or 'null')

    def finish(self):
        """Lets them end once all requests were made; their reports."""
        for process in self.processes:
            process.stdin.close()
        for reader, process in zip(self.readers, self.processes):
            reader.join()
            process.wait()
            process.stdout.close()
        return self.reports

    def kill(self):
        for process in self.processes:
            process.kill()


def roll(node, target, number):
    node.kubectl('set', 'env', target, f'ROLL={number}')


def rolled_out(node, target):
    node.kubectl('rollout', 'status', target, '--timeout=120s')


def restart(node):
    """The whole server dies, API, controllers, node agent and rules' keeper; pods and rules stay."""
    node.stop(signal.SIGKILL)
    node.start()


def disturb(node, target, sizes, rolls, kills, say):
    """Rolls, scales between, and if `kills` kills the server once while nothing happens and once within a roll."""
    for number in range(1, rolls + 1):
        roll(node, target, number)
        if kills and number == max(1, rolls * 2 // 3):
            restart(node)
            say(f'roll {number}: server killed and started within it')
        rolled_out(node, target)
        if kills and number == max(1, rolls // 3):
            restart(node)
            say(f'after roll {number}: server killed and started')
        if number <= len(sizes):
            node.kubectl('scale', target, f'--replicas={sizes[number - 1]}')
            rolled_out(node, target)
            say(f'after roll {number}: scaled to {sizes[number - 1]}')


def run(kind, requests, rate, rolls, sizes, kills=True, say=print):
    """The show on a node of its own; the reports of both loads."""
    node = Node('brume-show')
    client = loads = None
    try:
        node.start()
        node.import_image(IMAGE)
        wait_for(node.node_ready, 20)
        client = Client(node)
        name = 'web'
        node.apply(workload(kind, name), service(name, {'app': name}, {'port': 80}, type='NodePort'))
        target = f'{kind.lower()}/{name}'
        rolled_out(node, target)
        loads = Loads(node, client, name, requests, rate)
        disturb(node, target, sizes, rolls, kills, say)
        return loads.finish()
    finally:
        if loads:
            loads.kill()
        if client:
            client.destroy()
        node.destroy()
