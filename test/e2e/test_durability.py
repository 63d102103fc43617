#!/usr/bin/env python3
"""Kills the server at random points under write load, again and again, and shows that nothing it acknowledged is lost.

Writers create, update and delete ConfigMaps and keep book of what was acknowledged; watchers resume from the last revision
they saw. At the end every watcher must have the same sequence of events, strictly rising, in which every acknowledged write
stands with its content, and whose replay is what the server lists. BRUME_KILLS (200) sets how often it is killed,
BRUME_SEED the course of the test.
"""
import os
import random
import signal
import threading
import time
import unittest

import harness
import rawclient

KILLS = int(os.environ.get('BRUME_KILLS', '200'))
SEED = int(os.environ.get('BRUME_SEED', str(time.time_ns() % 1_000_000)))
WRITERS = 4
KEYS_PER_WRITER = 12
BASE = '/api/v1/namespaces/default/configmaps'
SENTINEL = 'sentinel'
GIVE_UP = 60  # seconds without an answer: the server does not come back


class Failure(AssertionError):
    pass


class Shared:
    """What all threads share."""

    def __init__(self, context, namespace):
        self.context = context
        self.namespace = namespace
        self.stop = threading.Event()
        self.failed = []
        self.lock = threading.Lock()
        self.newest = 0       # the largest revision that anybody was given
        self.epoch = 0        # grows with each kill

    def saw(self, revision):
        with self.lock:
            self.newest = max(self.newest, revision)


class Worker(threading.Thread):
    def __init__(self, shared, name):
        super().__init__(name=name, daemon=True)
        self.shared = shared
        self.random = random.Random(f'{SEED} {name}')

    def run(self):
        try:
            rawclient.enter_namespace(self.shared.namespace)
            self.work()
        except BaseException as error:  # noqa: the main thread reports it
            self.shared.failed.append(f'{self.name}: {type(error).__name__}: {error}')

    def patiently(self, what):
        """what(), again while the server is down."""
        deadline = time.monotonic() + GIVE_UP
        while True:
            try:
                return what()
            except rawclient.Api.BROKEN as error:
                if time.monotonic() > deadline:
                    raise Failure(f'no answer for {GIVE_UP} s: {error!r}')
                time.sleep(0.005)
            except rawclient.Refused as error:
                # Not ready yet, or stopping: nothing was written.
                if error.code not in (429, 503) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)


class Writer(Worker):
    """Owns its keys, so that it knows what must be there: `state` has value and revision of each, or None."""

    def __init__(self, shared, number):
        super().__init__(shared, f'writer-{number}')
        self.api = rawclient.Api(shared.context)
        self.state = {f'w{number}-{i}': None for i in range(KEYS_PER_WRITER)}
        self.acknowledged = []  # (kind, key, value, revision); a delete's revision is unknown: what it followed stands there
        self.counter = 0
        self.uncertain = 0
        self.uncertain_done = 0

    def work(self):
        while not self.shared.stop.is_set():
            self.step(self.random.choice(list(self.state)))
        self.api.close()

    def step(self, key):
        before = self.state[key]
        self.counter += 1
        value = f'{self.name}/{self.counter}/' + 'x' * self.random.choice((0, 10, 200, 3000))
        floor = self.shared.newest
        body = {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': key}, 'data': {'v': value}}
        try:
            if before is None:
                kind, answer = 'put', self.api.call('POST', BASE, body)
            elif self.random.random() < 0.25:
                kind, value = 'delete', None
                self.api.call('DELETE', f'{BASE}/{key}')
                answer = None
            else:
                kind = 'put'
                body['metadata']['resourceVersion'] = str(before[1])
                answer = self.api.call('PUT', f'{BASE}/{key}', body)
        except rawclient.Api.BROKEN:
            self.uncertain += 1
            self.settle(key, before, value)
            return
        except rawclient.Refused as error:
            if error.code in (429, 503):
                time.sleep(0.005)
                return
            raise
        if kind == 'delete':
            self.acknowledged.append(('delete', key, before[0], before[1]))
            self.state[key] = None
            return
        revision = int(answer['metadata']['resourceVersion'])
        if answer['data']['v'] != value:
            raise Failure(f'{key}: the answer has another content')
        if revision <= floor:
            raise Failure(f'{key}: revision {revision} after {floor} was given out')
        self.acknowledged.append(('put', key, value, revision))
        self.state[key] = (value, revision)
        self.shared.saw(revision)

    def read(self, key):
        try:
            found = self.api.call('GET', f'{BASE}/{key}')
        except rawclient.Refused as error:
            if error.code == 404:
                return None
            raise
        return found['data']['v'], int(found['metadata']['resourceVersion'])

    def settle(self, key, before, value):
        """After a write without an answer: either it is there or the state before is, and nothing else."""
        now = self.patiently(lambda: self.read(key))
        if now == before:
            return
        if (now is None) != (value is None) or (now is not None and now[0] != value):
            raise Failure(f'{key}: {now and now[0][:40]} stands there, neither {before and before[0][:40]} nor {value and value[:40]}')
        self.uncertain_done += 1
        self.state[key] = now
        if now is not None:
            self.acknowledged.append(('put', key, *now))
            self.shared.saw(now[1])
        else:
            self.acknowledged.append(('delete', key, *before))

    def check(self):
        """Everything acknowledged is there, read one by one. For the test's own thread."""
        for key, expected in self.state.items():
            found = self.patiently(lambda: self.read(key))
            if found != expected:
                raise Failure(f'{key}: {found and (found[0][:40], found[1])} instead of {expected and (expected[0][:40], expected[1])}')
        self.api.close()


class Watcher(Worker):
    """Resumes where it was. `laziness` is how many kills it sleeps through now and then."""

    def __init__(self, shared, number, start, laziness):
        super().__init__(shared, f'watcher-{number}')
        self.last = start
        self.laziness = laziness
        self.events = []  # (revision, type, name, value)
        self.resumes = 0
        self.done = threading.Event()

    def work(self):
        while not self.done.is_set():
            self.patiently(self.follow)
            if self.laziness and not self.shared.stop.is_set():
                until = self.shared.epoch + self.random.randint(0, self.laziness)
                while self.shared.epoch < until and not self.shared.stop.is_set():
                    time.sleep(0.02)
            time.sleep(0.005)

    def follow(self):
        api = rawclient.Api(self.shared.context, timeout=20)
        api.open()
        self.resumes += 1
        for event in api.watch(f'{BASE}?watch=1&allowWatchBookmarks=true&resourceVersion={self.last}'):
            item = event['object']
            if event['type'] == 'ERROR':
                raise Failure(f'resuming at {self.last}: {item}')
            revision = int(item['metadata']['resourceVersion'])
            if event['type'] == 'BOOKMARK':
                if revision < self.last:
                    raise Failure(f'a bookmark at {revision} after {self.last}')
                self.last = revision
                continue
            if revision <= self.last:
                raise Failure(f'revision {revision} came after {self.last}')
            self.last = revision
            self.events.append((revision, event['type'], item['metadata']['name'], item.get('data', {}).get('v')))
            if item['metadata']['name'] == SENTINEL:
                self.done.set()
                return


class DurabilityTest(unittest.TestCase):
    def setUp(self):
        print(f'{KILLS} kills, seed {SEED}', flush=True)
        self.random = random.Random(SEED)
        self.node = harness.Node('brume-dur', ['--disable', 'dns', '--disable-agent'])
        self.addCleanup(self.node.destroy)
        self.start_times = []

    def start(self, api=None):
        began = time.monotonic()
        self.node.start(ready=False)
        if api is None:
            return
        while True:
            try:
                api.call('GET', '/readyz')
                break
            except (*rawclient.Api.BROKEN, rawclient.Refused):
                if self.node.process.poll() is not None:
                    self.fail('the server has ended: ' + self.node.log.read_text()[-2000:])
                self.assertLess(time.monotonic() - began, GIVE_UP, 'not ready')
                time.sleep(0.005)
        self.start_times.append(time.monotonic() - began)

    def kill_again_and_again(self, shared, api):
        for number in range(KILLS):
            if self.random.random() < 0.1:  # in the middle of a start
                self.start()
                time.sleep(self.random.uniform(0.01, 0.4))
            else:
                self.start(api)
                time.sleep(self.random.uniform(0.02, 0.5))
            if shared.failed or self.node.process.poll() is not None:
                self.fail('\n'.join(shared.failed) or 'the server has ended: ' + self.node.log.read_text()[-2000:])
            self.node.stop(signal.SIGKILL)
            api.close()
            shared.epoch = number + 1

    def test_kills(self):
        self.node.start()
        context = rawclient.tls_context(self.node.kubeconfig)
        course = NamespacedCalls(self, context)
        course.start()
        course.join()
        if course.error:
            raise course.error

    def course(self, context):
        api = rawclient.Api(context)
        began = time.monotonic()
        listed = api.call('GET', BASE)
        first = int(listed['metadata']['resourceVersion'])
        before = {item['metadata']['name']: item for item in listed['items']}
        shared = Shared(context, self.node.name)
        writers = [Writer(shared, i) for i in range(WRITERS)]
        watchers = [Watcher(shared, i, first, laziness) for i, laziness in enumerate((0, 0, 4))]
        for worker in (*writers, *watchers):
            worker.start()
        time.sleep(0.2)
        self.node.stop(signal.SIGKILL)
        api.close()
        self.kill_again_and_again(shared, api)
        self.start(api)
        shared.stop.set()
        for writer in writers:
            writer.join(GIVE_UP)
            self.assertFalse(writer.is_alive(), writer.name + ' hangs')
        api.call('POST', BASE, {'metadata': {'name': SENTINEL}, 'data': {'v': 'end'}})
        for watcher in watchers:
            watcher.join(GIVE_UP)
        self.assertEqual(shared.failed, [])
        took = time.monotonic() - began
        self.compare(api, writers, watchers, before)
        for writer in writers:
            writer.check()
        self.check_clean_restart(api)
        api.close()
        starts = sorted(self.start_times)
        print(f'{KILLS + 1} kills in {took:.0f} s: {sum(len(w.acknowledged) for w in writers)} writes acknowledged, '
              f'{sum(w.uncertain for w in writers)} without an answer ({sum(w.uncertain_done for w in writers)} of them done), '
              f'{len(watchers[0].events)} events to each of {len(watchers)} watchers, {sum(w.resumes for w in watchers)} resumptions; '
              f'start to ready p50 {starts[len(starts) // 2] * 1000:.0f} ms, max {starts[-1] * 1000:.0f} ms', flush=True)

    def compare(self, api, writers, watchers, before):
        for watcher in watchers:
            self.assertTrue(watcher.done.is_set(), watcher.name + ' did not see the end')
            if watcher.events != watchers[0].events:
                for mine, theirs in zip(watcher.events, watchers[0].events):
                    self.assertEqual(mine, theirs, f'{watcher.name} and {watchers[0].name} part')
                self.fail(f'{watcher.name} saw {len(watcher.events)} events, {watchers[0].name} {len(watchers[0].events)}')
        events = watchers[0].events
        revisions = [revision for revision, *_ in events]
        self.assertEqual(revisions, sorted(set(revisions)))
        # Each acknowledged write is one event and each event of a writer's key is an acknowledged write, in order.
        seen = {}
        for revision, kind, name, value in events:
            seen.setdefault(name, []).append((revision, kind, value))
        acknowledged = [write for writer in writers for write in writer.acknowledged]
        given = [write[3] for write in acknowledged if write[0] == 'put']
        self.assertEqual(len(given), len(set(given)), 'a revision was given out twice')
        for writer in writers:
            for key in writer.state:
                self.compare_key(key, [w for w in writer.acknowledged if w[1] == key], seen.get(key, []))
        state = {name: (item.get('data', {}).get('v'), int(item['metadata']['resourceVersion'])) for name, item in before.items()}
        for revision, kind, name, value in events:
            if kind == 'DELETED':
                self.assertIn(name, state)
                del state[name]
            else:
                self.assertEqual(kind == 'ADDED', name not in state, f'{kind} of {name} at {revision}')
                state[name] = (value, revision)
        listed = {item['metadata']['name']: (item.get('data', {}).get('v'), int(item['metadata']['resourceVersion']))
                  for item in api.call('GET', BASE)['items']}
        self.assertEqual({k: v for k, v in state.items() if k.startswith('w')}, {k: v for k, v in listed.items() if k.startswith('w')})

    def compare_key(self, key, writes, events):
        self.assertEqual(len(writes), len(events), f'{key}: acknowledged and seen: {writes[-3:]} {events[-3:]}')
        for (kind, _, value, revision), (seen_revision, seen_kind, seen_value) in zip(writes, events):
            self.assertEqual(value, seen_value, f'{key} at {seen_revision}')
            if kind == 'delete':
                self.assertEqual('DELETED', seen_kind)
                self.assertGreater(seen_revision, revision)
            else:
                self.assertEqual(revision, seen_revision)

    def check_clean_restart(self, api):
        """After SIGTERM nothing jumps: the same list, at a revision that has only grown."""
        before = api.call('GET', BASE)
        api.close()
        self.assertEqual(self.node.stop(), 0)
        self.start(api)
        after = api.call('GET', BASE)
        self.assertEqual(before['items'], after['items'])
        grown = int(after['metadata']['resourceVersion']) - int(before['metadata']['resourceVersion'])
        self.assertTrue(0 <= grown < 10_000, f'a clean start jumped over {grown} revisions')


class NamespacedCalls(threading.Thread):
    """The test's own course, in the node's network namespace."""

    def __init__(self, test, context):
        super().__init__(name='course')
        self.test = test
        self.context = context
        self.error = None

    def run(self):
        try:
            rawclient.enter_namespace(self.test.node.name)
            self.test.course(self.context)
        except BaseException as error:  # noqa: raised again in the main thread
            self.error = error


if __name__ == '__main__':
    unittest.main()
