"""Jobs and CronJobs, driven by kubectl as a person would."""
import datetime
import signal

from harness import IMAGE, NodeTest, needs_kubectl, pod, wait_for

BATCH = 'apis/batch/v1'


def job(name, *command, container=None, labels=None, template=None, **spec):
    """A Job whose pods run `command` (a shell script if it is one string) once; `template` is laid over the pod's spec."""
    made = pod(name, *command)
    made['spec']['containers'][0].update(container or {})
    return {'apiVersion': 'batch/v1', 'kind': 'Job', 'metadata': {'name': name},
            'spec': {'template': {'metadata': {'labels': labels or {'app': name}},
                                  'spec': {'restartPolicy': 'Never', **made['spec'], **(template or {})}}, **spec}}


class Jobs(NodeTest):
    def status(self, name):
        return self.peek('jobs', name, BATCH).get('status', {})

    def conditions(self, name):
        return [c['type'] for c in self.status(name).get('conditions', []) if c['status'] == 'True']

    def wait_for_condition(self, name, condition, seconds=30):
        wait_for(lambda: condition in self.conditions(name), seconds, message=f'job {name} is {condition}')
        return self.status(name)

    def pods_of(self, name):
        items = self.node.api('GET', f'/api/v1/namespaces/{self.ns}/pods?labelSelector=job-name%3D{name}').json()['items']
        return sorted(items, key=lambda p: p['metadata']['creationTimestamp'])

    def check_untracked(self, name):
        for p in self.pods_of(name):
            self.assertNotIn('batch.kubernetes.io/job-tracking', p['metadata'].get('finalizers', []))

    def test_completes(self):
        self.k('create', 'job', 'hello', f'--image={IMAGE}', '--', 'echo', 'hi')
        self.assertIn('condition met', self.k('wait', '--for=condition=complete', 'job/hello', '--timeout=30s'))
        self.assertEqual('hi\n', self.k('logs', 'job/hello'))
        self.assertRegex(self.k('get', 'jobs'), r'NAME +STATUS +COMPLETIONS +DURATION +AGE\nhello +Complete +1/1 +\d+s +\d+s')
        self.assertRegex(self.k('get', 'jobs', '-o', 'wide'), rf'hello +Complete +1/1 .* hello +{IMAGE} +batch.kubernetes.io/controller-uid=')
        self.assertRegex(self.k('describe', 'job', 'hello'), r'Pods Statuses: +0 (Active|Running).* / 1 Succeeded / 0 Failed')
        status = self.status('hello')
        self.assertEqual(['SuccessCriteriaMet', 'Complete'], [c['type'] for c in status['conditions']])
        self.assertEqual({}, status['uncountedTerminatedPods'])
        events = '\n'.join(self.events('hello'))
        self.assertRegex(events, r'SuccessfulCreate: Created pod: hello-\w+')
        self.assertIn('Completed: Job completed', events)
        self.check_untracked('hello')
        self.k('delete', 'job', 'hello')
        self.wait(lambda: not self.pods_of('hello'), message='the pods are gone with the job')

    def test_many_at_once_with_a_sidecar(self):
        self.apply(job('many', 'sleep 0.2', completions=8, parallelism=4, template={
            'initContainers': [{'name': 'side', 'image': IMAGE, 'restartPolicy': 'Always', 'command': ['sleep', '100000']}]}))
        most = 0

        def done():
            nonlocal most
            most = max(most, self.status('many').get('active', 0))
            return 'Complete' in self.conditions('many')
        wait_for(done, 60)
        self.assertEqual(8, self.status('many')['succeeded'])
        self.assertLessEqual(most, 4)
        self.assertEqual(8, len(self.pods_of('many')))

    def test_indexed(self):
        self.apply(job('parts', 'echo "$(hostname) $JOB_COMPLETION_INDEX"; [ $JOB_COMPLETION_INDEX != 2 ]', completions=4, parallelism=4,
                       completionMode='Indexed', backoffLimitPerIndex=0))
        status = self.wait_for_condition('parts', 'Failed')
        self.assertEqual(('0,1,3', '2', 3, 1), (status['completedIndexes'], status['failedIndexes'], status['succeeded'], status['failed']))
        self.assertEqual('FailedIndexes', status['conditions'][-1]['reason'])
        for p in self.pods_of('parts'):
            index = p['metadata']['annotations']['batch.kubernetes.io/job-completion-index']
            self.assertEqual(index, p['metadata']['labels']['batch.kubernetes.io/job-completion-index'])
            self.assertTrue(p['metadata']['name'].startswith(f'parts-{index}-'))
            self.assertEqual(f'parts-{index} {index}\n', self.k('logs', p['metadata']['name']))
        self.assertRegex(self.k('get', 'jobs'), r'parts +Failed +3/4')

    def test_fails(self):
        self.apply(job('fails', 'exit 3', backoffLimit=0),
                   job('fatal', 'exit 42', backoffLimit=6, podFailurePolicy={'rules': [
                       {'action': 'FailJob', 'onExitCodes': {'containerName': 'main', 'operator': 'In', 'values': [42]}}]}),
                   job('retries', 'exit 1', backoffLimit=1))
        status = self.wait_for_condition('fails', 'Failed')
        self.assertEqual(1, status['failed'])
        self.assertEqual(['FailureTarget', 'Failed'], [c['type'] for c in status['conditions']])
        self.assertEqual('BackoffLimitExceeded', status['conditions'][1]['reason'])
        self.wait_event('fails', 'BackoffLimitExceeded: Job has reached the specified backoff limit')
        status = self.wait_for_condition('fatal', 'Failed')
        name = self.pods_of('fatal')[0]['metadata']['name']
        self.assertEqual(('PodFailurePolicy', f'Container main for pod {self.ns}/{name} failed with exit code 42 matching FailJob rule at index 0'),
                         (status['conditions'][1]['reason'], status['conditions'][1]['message']))
        # The second try comes after ten seconds.
        status = self.wait_for_condition('retries', 'Failed')
        self.assertEqual(2, status['failed'])
        first, second = (p['metadata']['creationTimestamp'] for p in self.pods_of('retries'))
        self.assertGreaterEqual(int(second[-3:-1]) + 60 * int(second[-6:-4]) - int(first[-3:-1]) - 60 * int(first[-6:-4]), 10)

    def test_suspend_and_resume(self):
        self.apply(job('pausing', 'trap "exit 1" TERM; sleep 100000 & wait', completions=2, parallelism=2))
        wait_for(lambda: self.status('pausing').get('ready') == 2, 30)
        self.k('patch', 'job', 'pausing', '-p', '{"spec":{"suspend":true}}')
        self.wait_for_condition('pausing', 'Suspended')
        self.wait(lambda: not self.pods_of('pausing'), message='no pods')
        status = wait_for(lambda: 'active' not in self.status('pausing') and self.status('pausing'), 10)
        self.assertNotIn('startTime', status)
        self.assertNotIn('failed', status)
        self.assertRegex(self.k('get', 'jobs'), r'pausing +Suspended +0/2')
        changed = self.kubectl('patch', 'job', 'pausing', '-p', '{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"x"}]}}}}')
        self.assertIn('field is immutable', changed.stderr)
        self.k('patch', 'job', 'pausing', '-p', '{"spec":{"suspend":false}}')
        wait_for(lambda: self.status('pausing').get('ready') == 2, 30)
        events = '\n'.join(self.events('pausing'))
        self.assertIn('Suspended: Job suspended', events)
        self.assertIn('Resumed: Job resumed', events)

    def test_goes_by_itself(self):
        self.apply(job('short', 'true', ttlSecondsAfterFinished=1))
        self.wait_for_condition('short', 'Complete')
        self.wait_gone('jobs', 'short', BATCH)
        self.assertEqual([], self.pods_of('short'))

    def test_deadline(self):
        self.apply(job('late', 'sleep 100000', activeDeadlineSeconds=1))
        status = self.wait_for_condition('late', 'Failed')
        self.assertEqual('DeadlineExceeded', status['conditions'][-1]['reason'])
        self.wait(lambda: not self.pods_of('late'), message='its pod is gone')

    def test_orphaned_pods_are_let_go(self):
        self.apply(job('parent', 'sleep 100000'))
        wait_for(lambda: self.status('parent').get('ready') == 1, 30)
        self.k('delete', 'job', 'parent', '--cascade=orphan')
        left = wait_for(lambda: [p for p in self.pods_of('parent') if 'ownerReferences' not in p['metadata'] and
                                 'finalizers' not in p['metadata']], 20, message='the pod has neither owner nor finalizer')
        self.assertEqual('Running', left[0]['status']['phase'])


class CronJobs(NodeTest):
    def jobs_of(self, name):
        items = self.node.api('GET', f'/{BATCH}/namespaces/{self.ns}/jobs').json()['items']
        return [j for j in items if any(o['name'] == name for o in j['metadata'].get('ownerReferences', []))]

    @needs_kubectl(21)  # which speaks batch/v1 about CronJobs
    def test_runs_by_hand_and_by_schedule(self):
        self.k('create', 'cronjob', 'often', f'--image={IMAGE}', '--schedule=@every 1s', '--', 'echo', 'tick')
        job = wait_for(lambda: self.jobs_of('often'), 20)[0]
        minutes = int(job['metadata']['name'].removeprefix('often-'))
        at = job['metadata']['annotations']['batch.kubernetes.io/cronjob-scheduled-timestamp']
        self.assertEqual(minutes, int(datetime.datetime.fromisoformat(at.replace('Z', '+00:00')).timestamp()) // 60)
        self.k('patch', 'cronjob', 'often', '-p', '{"spec":{"suspend":true}}')
        self.k('wait', '--for=condition=complete', 'job/' + job['metadata']['name'], '--timeout=30s')
        wait_for(lambda: 'lastSuccessfulTime' in self.peek('cronjobs', 'often', BATCH)['status'], 10)
        self.assertIn('lastScheduleTime', self.peek('cronjobs', 'often', BATCH)['status'])
        self.assertRegex(self.k('get', 'cronjobs'), r'NAME +SCHEDULE +TIMEZONE +SUSPEND +ACTIVE +LAST SCHEDULE +AGE\n'
                         r'often +@every 1s +<none> +True +\d +\d+s +\d+s')
        self.assertIn(f'SuccessfulCreate: Created job {job["metadata"]["name"]}', self.events('often'))
        self.assertTrue(self.wait_event('often', 'SawCompletedJob: Saw completed job: '))
        self.k('create', 'job', 'by-hand', '--from=cronjob/often')
        self.k('wait', '--for=condition=complete', 'job/by-hand', '--timeout=30s')
        self.assertEqual('tick\n', self.k('logs', 'job/by-hand'))
        self.k('delete', 'cronjob', 'often')
        self.wait(lambda: not self.jobs_of('often'), message='its jobs are gone')

    @needs_kubectl(21)  # which speaks batch/v1 about CronJobs
    def test_refused(self):
        bad = self.kubectl('create', 'cronjob', 'bad', f'--image={IMAGE}', '--schedule=61 * * * *')
        self.assertIn('end of range (61) above maximum (59): 61', bad.stderr)
        self.k('create', 'cronjob', 'zoned', f'--image={IMAGE}', '--schedule=0 0 * * *')
        bad = self.kubectl('patch', 'cronjob', 'zoned', '-p', '{"spec":{"timeZone":"Nowhere/Land"}}')
        self.assertIn('unknown time zone Nowhere/Land', bad.stderr)


class JobsAndCrashes(NodeTest):
    def test_counts_after_sigkill(self):
        """The server dies in the middle of a Job of 20; the pods go on, and each is counted once."""
        self.apply(job('work', 'sleep 0.3', completions=20, parallelism=5))
        status = {}
        for _ in range(3):
            before = status.get('succeeded', 0)

            def further():
                status.update(self.peek('jobs', 'work', BATCH).get('status', {}))
                return status.get('succeeded', 0) > before
            wait_for(further, 30, 0.02)
            self.node.stop(signal.SIGKILL)
            self.node.start()
        self.assertIn('condition met', self.k('wait', '--for=condition=complete', 'job/work', '--timeout=60s'))
        status = self.peek('jobs', 'work', BATCH)['status']
        self.assertEqual(20, status['succeeded'])
        self.assertNotIn('failed', status)
        self.assertEqual({}, status['uncountedTerminatedPods'])
        pods = self.get('pods', '-l', 'job-name=work')['items']
        self.assertEqual({'Succeeded'}, {p['status']['phase'] for p in pods})
        self.assertEqual(20, len(pods))
        self.assertEqual([], [p['metadata']['name'] for p in pods if 'finalizers' in p['metadata']])
