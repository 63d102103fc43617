"""Random disturbances over sixty workloads of every kind; afterwards the world must equal the specs."""
import collections
import json
import random
import signal
import time

from nodes import LocalNode, VirtualNode  # which finds the harness
from harness import service, wait_for
import workloads

NAMESPACE = 'chaos'
SETTLE_SECONDS = 240
CLOCK_JUMPS = (3600, -3600)


class World:
    """One look at everything, taken over when all is said to be quiet."""

    PATHS = {'deployments': workloads.APPS, 'replicasets': workloads.APPS, 'statefulsets': workloads.APPS, 'daemonsets': workloads.APPS,
             'replicationcontrollers': workloads.CORE, 'jobs': workloads.BATCH, 'cronjobs': workloads.BATCH, 'pods': workloads.CORE,
             'persistentvolumeclaims': workloads.CORE}

    def __init__(self, node, witness):
        self.node = node
        self.written = self.read(node.shell(f'cd {witness}; grep -H . done-* overlaps 2>/dev/null || true'))
        self.nodes = len(self.items('/api/v1/nodes'))
        self.objects = {plural: {o['metadata']['name']: o for o in self.items(f'{group}/namespaces/{NAMESPACE}/{plural}')}
                        for plural, group in self.PATHS.items()}
        self.pods = list(self.objects['pods'].values())
        self.slices = self.items(f'/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices')

    def items(self, path):
        answer = self.node.api('GET', path)
        if answer.status != 200:
            raise OSError(f'{path}: {answer}')
        return answer.json()['items']

    @staticmethod
    def read(lines):
        written = collections.defaultdict(list)
        for name, _, line in (text.partition(':') for text in lines.splitlines()):
            written[name].append(line)
        return written

    def witness(self, name):
        """The lines that pods wrote into this file."""
        return self.written[name]

    def orphans(self):
        """Objects whose owner is not there any more."""
        uids = {o['metadata']['uid'] for objects in self.objects.values() for o in objects.values()}
        return [f'{plural}/{name} has no owner left' for plural, objects in self.objects.items() for name, o in objects.items()
                for owner in o['metadata'].get('ownerReferences', []) if owner['uid'] not in uids]

    def strays(self):
        """Pods that the node keeps and the API does not know, by their directories."""
        known = {p['metadata']['uid'] for p in self.items('/api/v1/pods')}
        return [f'the node still has pod {uid}' for uid in self.node.shell(f'ls {self.node.data_dir}/pods').split() if uid not in known]

    def endpoints(self):
        """Slices that do not name exactly the ready pods of their Service."""
        ready = collections.defaultdict(set)
        for pod in self.pods:
            if workloads.settled([pod], 1) is None:
                ready[pod['metadata']['labels']['app']].add(pod['status']['podIP'])
        named = collections.defaultdict(set)
        for part in self.slices:
            for endpoint in part.get('endpoints') or []:
                if endpoint['conditions'].get('ready'):
                    named[part['metadata']['labels']['kubernetes.io/service-name']].update(endpoint['addresses'])
        return [f'service {name} has {found}, not {ready[name]}' for name, found in named.items() if found != ready[name]]

    def wrong(self, all_workloads):
        problems = [f'{w.kind} {w.name}: {why}' for w in all_workloads if (why := w.wrong(self))]
        problems += self.orphans() + self.strays() + self.endpoints()
        problems += [f'two containers of {name} ran at once' for name in self.witness('overlaps')]
        return problems


class Chaos:
    def __init__(self, node, seed, say):
        self.node, self.say, self.dice = node, say, random.Random(seed)
        self.witness = f'{node.scratch}/witness'  # a directory that pods write into
        node.shell(f'mkdir {self.witness}')
        self.all = workloads.sixty()
        self.done = collections.Counter()

    def deploy(self):
        self.node.kubectl('create', 'namespace', NAMESPACE)
        wait_for(lambda: self.node.api('GET', f'/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default').status == 200)
        objects = [w.new(self.witness) for w in self.all]
        objects += [service(w.name, w.labels, {'port': 80}) for w in self.all if isinstance(w, workloads.Replicated)]
        self.node.kubectl('-n', NAMESPACE, 'create', '-f', '-', input=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': objects}))

    # Disturbances ----------------------------------------------------------------------------------------------------

    def some_pod(self):
        pods = self.node.api('GET', f'/api/v1/namespaces/{NAMESPACE}/pods').json()['items']
        return self.dice.choice(pods) if pods else None

    def delete_pod(self):
        pod = self.some_pod()
        if pod:
            # By force, a pod is gone from the API before it is from the node: no StatefulSet can then keep its promise.
            alone = any(o['kind'] == 'StatefulSet' for o in pod['metadata'].get('ownerReferences', []))
            grace = self.dice.choice((1, 2) if alone else (0, 1, 2))
            self.node.api('DELETE', f'/api/v1/namespaces/{NAMESPACE}/pods/{pod["metadata"]["name"]}?gracePeriodSeconds={grace}')

    def kill_container(self):
        """SIGKILL for a process of a pod, its shim left out."""
        pod = self.some_pod()
        if pod:
            self.node.shell(f'''group=$(find /sys/fs/cgroup -type d -name pod{pod["metadata"]["uid"]} | head -n 1)
                                [ -n "$group" ] || exit 0
                                pid=$(find "$group" -mindepth 2 -name cgroup.procs ! -path "*/shim/*" -exec cat {{}} + | head -n 1)
                                [ -z "$pid" ] || kill -9 "$pid" || true''')

    def change_spec(self):
        workload = self.dice.choice(self.all)
        patch = workload.change(self.dice)
        if patch:
            self.node.api('PATCH', workload.path(NAMESPACE), patch, 'application/strategic-merge-patch+json')

    def kill_server(self):
        self.node.stop(signal.SIGKILL)
        self.node.start()

    def jump_clock(self):
        jump = CLOCK_JUMPS[self.done['jump_clock'] % len(CLOCK_JUMPS)]
        self.node.set_clock(jump)
        self.say(f'clock set by {jump} s')

    def run(self, seconds, server_kills=10):
        """Disturbs some times a second; the server dies `server_kills` times in all, and the clock jumps where it may."""
        begin = time.monotonic()
        due = [(seconds * (i + 1) / (server_kills + 1), self.kill_server) for i in range(server_kills)]
        if self.node.set_clock:
            due += [(seconds * (i + 1) / (len(CLOCK_JUMPS) + 1), self.jump_clock) for i in range(len(CLOCK_JUMPS))]
        due.sort(key=lambda entry: entry[0])
        while (now := time.monotonic() - begin) < seconds:
            if due and now >= due[0][0]:
                action = due.pop(0)[1]
            else:
                action = self.dice.choices((self.delete_pod, self.kill_container, self.change_spec), (3, 3, 2))[0]
            action()
            self.done[action.__name__] += 1
            time.sleep(self.dice.uniform(0, 0.4))

    # Judgement -------------------------------------------------------------------------------------------------------

    def calm(self):
        for workload in self.all:
            if isinstance(workload, workloads.Job):
                self.node.api('PATCH', workload.path(NAMESPACE), workload.calm(), 'application/strategic-merge-patch+json')
            if isinstance(workload, workloads.CronJob):
                self.node.api('PATCH', workload.path(NAMESPACE), {'spec': {'suspend': True}}, 'application/merge-patch+json')

    def settle(self):
        """Waits until nothing is wrong; what still is when the patience is over."""
        self.calm()
        begin, problems = time.monotonic(), ['nothing was looked at']
        while problems and time.monotonic() - begin < SETTLE_SECONDS * self.node.patience:
            time.sleep(1)
            problems = World(self.node, self.witness).wrong(self.all)
        self.say(f'settled after {time.monotonic() - begin:.0f} s')
        return problems


def run(seconds, seed=None, server_kills=10, virtual=False, say=print):
    """The show on a node of its own, or in a virtual machine, where the clock jumps too; what was wrong at the end."""
    seed = seed if seed is not None else random.randrange(10 ** 6)
    node = VirtualNode('brume-chaos') if virtual else LocalNode('brume-chaos')
    try:
        node.start()
        node.import_example()
        wait_for(node.node_ready, 20 * node.patience)
        chaos = Chaos(node, seed, say)
        chaos.deploy()
        chaos.run(seconds, server_kills)
        say(f'seed {seed}: ' + ', '.join(f'{count} x {name}' for name, count in sorted(chaos.done.items())))
        return chaos.settle()
    finally:
        node.destroy()
