"""Workloads for the chaos show, and what must hold of each once it is quiet again."""
import collections
import re

from harness import IMAGE

# Each container that must be alone signs for its pod's name; one that still runs when another has signed leaves a line in `overlaps`.
ALONE = ('trap "exit 0" TERM; me=$(cat /proc/sys/kernel/random/uuid); echo $me > /witness/alone-$HOSTNAME; '
         'while sleep 0.3 & wait $!; do [ "$(cat /witness/alone-$HOSTNAME)" = $me ] || { echo $HOSTNAME >> /witness/overlaps; exit 1; }; done')
# Work of one to three seconds, and then a line in the witness, just before the container ends well.
WORK = 'sleep $(($(head -c 1 /dev/urandom | od -An -tu1) % 3 + 1)); echo $HOSTNAME >> /witness/done-'
SERVE = 'mkdir -p /www; echo "$ROLL" > /www/index.html; exec httpd -f -p 80 -h /www'

APPS, BATCH, CORE = '/apis/apps/v1', '/apis/batch/v1', '/api/v1'


def template(labels, script, witness, **spec):
    container = {'name': 'main', 'image': IMAGE, 'command': ['sh', '-c', script], 'env': [{'name': 'ROLL', 'value': '0'}],
                 'volumeMounts': [{'name': 'witness', 'mountPath': '/witness'}]}
    container.update(spec.pop('container', {}))
    return {'metadata': {'labels': labels},
            'spec': {'terminationGracePeriodSeconds': 2, 'containers': [container],
                     'volumes': [{'name': 'witness', 'hostPath': {'path': str(witness)}}], **spec}}


class Workload:
    """One object under test. `api` is its group's path, `plural` its resource."""
    api = APPS

    def __init__(self, name, number):
        self.name, self.number = name, number
        self.labels = {'app': name}

    def path(self, ns):
        return f'{self.api}/namespaces/{ns}/{self.plural}/{self.name}'

    def manifest(self, spec):
        return {'apiVersion': self.api.split('/', 2)[2], 'kind': self.kind, 'metadata': {'name': self.name}, 'spec': spec}

    def pods(self, world):
        return [p for p in world.pods if p['metadata']['labels'].get('app') == self.name]

    def change(self, dice):
        """A strategic merge patch, or None."""

    def wrong(self, world):
        """What does not hold, in words; nothing when all is well."""


def scaled(dice, most):
    return {'spec': {'replicas': dice.randint(0, most)}}


def rolled(dice):
    container = {'name': 'main', 'env': [{'name': 'ROLL', 'value': str(dice.randrange(10 ** 6))}]}
    return {'spec': {'template': {'spec': {'containers': [container]}}}}


def settled(pods, wanted):
    live = [p for p in pods if 'deletionTimestamp' not in p['metadata']]
    ready = [p for p in live if any(c['type'] == 'Ready' and c['status'] == 'True' for c in p['status'].get('conditions', []))]
    if len(pods) != wanted or len(ready) != wanted:
        return f'{len(pods)} pods, {len(ready)} ready, of {wanted}' + ''.join(describe(p) for p in pods if p not in ready)
    return None


def describe(pod):
    meta, status = pod['metadata'], pod['status']
    states = [c.get('state') for c in status.get('containerStatuses', [])]
    return f'; {meta["name"]} {status.get("phase")} {status.get("reason", "")} deleted {meta.get("deletionTimestamp", "never")} {states}'


class Replicated(Workload):
    """Anything with spec.replicas and a pod template."""
    most, script, selects = 4, SERVE, True

    def new(self, witness):
        selector = {'matchLabels': self.labels} if self.selects else self.labels
        return self.manifest({'replicas': 1 + self.number % 3, 'selector': selector, 'template': template(self.labels, self.script, witness)})

    def change(self, dice):
        return scaled(dice, self.most) if dice.random() < 0.5 else rolled(dice)

    def wrong(self, world):
        now = world.objects[self.plural][self.name]
        spec, status = now['spec'], now.get('status', {})
        if status.get('observedGeneration') != now['metadata']['generation']:
            return 'its controller has not seen its last change'
        counts = [status.get(f, 0) for f in ('replicas', 'readyReplicas')]
        if counts != [spec['replicas']] * 2:
            return f'status counts {counts} of {spec["replicas"]}'
        return settled(self.pods(world), spec['replicas'])


class Deployment(Replicated):
    kind, plural = 'Deployment', 'deployments'

    def wrong(self, world):
        now = world.objects[self.plural][self.name]
        owned = [r for r in world.objects['replicasets'].values() if r['metadata'].get('ownerReferences', [{}])[0].get('uid') == now['metadata']['uid']]
        active = [r for r in owned if r['spec']['replicas'] > 0]
        if len(active) > 1:
            return f'{len(active)} replica sets have replicas'
        if len(owned) > 11:
            return f'{len(owned)} replica sets are kept'
        if now['status'].get('updatedReplicas', 0) != now['spec']['replicas']:
            return 'not all pods are of the last template'
        return super().wrong(world)


class ReplicaSet(Replicated):
    kind, plural = 'ReplicaSet', 'replicasets'

    def change(self, dice):
        return scaled(dice, self.most)


class ReplicationController(ReplicaSet):
    kind, plural, api, selects = 'ReplicationController', 'replicationcontrollers', CORE, False


class StatefulSet(Replicated):
    kind, plural, script = 'StatefulSet', 'statefulsets', ALONE

    def new(self, witness):
        made = super().new(witness)
        made['spec'].update(serviceName=self.name, podManagementPolicy='Parallel' if self.number % 2 else 'OrderedReady')
        if self.number % 3 == 0:
            made['spec']['volumeClaimTemplates'] = [{'metadata': {'name': 'data'}, 'spec': {
                'accessModes': ['ReadWriteOnce'], 'resources': {'requests': {'storage': '1Mi'}}}}]
            made['spec']['template']['spec']['containers'][0]['volumeMounts'].append({'name': 'data', 'mountPath': '/data'})
        return made

    def wrong(self, world):
        now = world.objects[self.plural][self.name]
        names = sorted(p['metadata']['name'] for p in self.pods(world))
        if names != sorted(f'{self.name}-{i}' for i in range(now['spec']['replicas'])):
            return f'its pods are {names} of {now["spec"]["replicas"]}'
        status = now['status']
        if status.get('currentRevision') != status.get('updateRevision'):
            return 'its rollout has not ended'
        revisions = {p['metadata']['labels']['controller-revision-hash'] for p in self.pods(world)}
        if revisions - {status.get('updateRevision')}:
            return f'pods are of {revisions}, not of {status.get("updateRevision")}'
        return super().wrong(world)


class DaemonSet(Workload):
    kind, plural = 'DaemonSet', 'daemonsets'

    def new(self, witness):
        return self.manifest({'selector': {'matchLabels': self.labels}, 'template': template(self.labels, SERVE, witness)})

    def change(self, dice):
        return rolled(dice)

    def wrong(self, world):
        now = world.objects[self.plural][self.name]
        status = now['status']
        if status.get('observedGeneration') != now['metadata']['generation'] or status.get('updatedNumberScheduled') != world.nodes:
            return f'status {status}'
        return settled(self.pods(world), world.nodes)


class Job(Workload):
    """Counts by finalizer: `succeeded` is what was wanted, and no more than what the witness saw being done."""
    kind, plural, api = 'Job', 'jobs', BATCH

    def new(self, witness):
        self.completions = 6 + self.number % 7
        spec = {'completions': self.completions, 'parallelism': 3, 'backoffLimit': 1000,
                'completionMode': 'Indexed' if self.number % 2 else 'NonIndexed'}
        made = self.manifest({**spec, 'template': template(self.labels, WORK + self.name, witness, restartPolicy='Never')})
        # A deleted or killed pod is nothing that the Job should slow down for.
        made['spec']['podFailurePolicy'] = {'rules': [{'action': 'Ignore', 'onPodConditions': [{'type': 'DisruptionTarget', 'status': 'True'}]}]}
        return made

    def change(self, dice):
        return {'spec': {'parallelism': dice.randint(1, 4)}} if dice.random() < 0.5 else {'spec': {'suspend': dice.random() < 0.3}}

    def calm(self):
        return {'spec': {'suspend': False, 'parallelism': 4}}

    def wrong(self, world):
        now = world.objects[self.plural][self.name]
        status = now['status']
        if not any(c['type'] == 'Complete' and c['status'] == 'True' for c in status.get('conditions', [])):
            return f'not complete: {status}'
        if status.get('succeeded') != self.completions or status.get('active') or status.get('uncountedTerminatedPods'):
            return f'its status is {status}, of {self.completions} completions'
        if self.number % 2 and status.get('completedIndexes') != f'0-{self.completions - 1}':
            return f'its indexes are {status.get("completedIndexes")}'
        seen = len(set(world.witness(f'done-{self.name}')))
        if not self.number % 2 and seen < self.completions:
            return f'{status["succeeded"]} were counted, and {seen} pods did the work'
        return None


class CronJob(Workload):
    kind, plural, api = 'CronJob', 'cronjobs', BATCH

    def new(self, witness):
        job = {'template': template(self.labels, 'sleep 1', witness, restartPolicy='OnFailure')}
        policy = ('Allow', 'Forbid', 'Replace')[self.number % 3]
        return self.manifest({'schedule': '* * * * *', 'concurrencyPolicy': policy, 'successfulJobsHistoryLimit': 2, 'jobTemplate': {'spec': job}})

    def wrong(self, world):
        now = world.objects[self.plural][self.name]
        uid = now['metadata']['uid']
        jobs = [j for j in world.objects['jobs'].values() if any(o['uid'] == uid for o in j['metadata'].get('ownerReferences', []))]
        times = collections.Counter(j['metadata']['annotations']['batch.kubernetes.io/cronjob-scheduled-timestamp'] for j in jobs)
        if any(count > 1 for count in times.values()):
            return f'two jobs of one time: {times}'
        done = [j for j in jobs if any(c['type'] == 'Complete' and c['status'] == 'True' for c in j['status'].get('conditions', []))]
        if len(done) > 2:
            return f'{len(done)} finished jobs are kept, of 2'
        return None


def sixty():
    """20 Deployments, 10 StatefulSets, 14 Jobs and some of each other kind."""
    plan = ((Deployment, 20), (StatefulSet, 10), (Job, 14), (CronJob, 6), (DaemonSet, 4), (ReplicaSet, 4), (ReplicationController, 2))
    return [kind(f'{re.sub("[a-z]", "", kind.__name__).lower()}-{i}', i) for kind, count in plan for i in range(count)]
