#!/usr/bin/env python3
"""A load of HTTP requests, each on a connection of its own: load.py --requests N --rate R [--connections C] URL

Goes on at R requests a second until N were made and standard input has ended, then prints one line of JSON: how many were made and
failed, the latencies in milliseconds, what the answers were, and the first failures with their times. A failure is anything but a
complete answer 200 within five seconds; nothing is tried again.
"""
import argparse
import asyncio
import collections
import json
import os
import sys
import threading
import time
import urllib.parse

TIMEOUT = 5.0
KEPT_FAILURES = 20


class Load:
    def __init__(self, url, requests, rate):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.path = parts.hostname, parts.port or 80, parts.path or '/'
        self.requests, self.rate = requests, rate
        self.made = 0
        self.latencies = []
        self.answers = collections.Counter()
        self.failures = []
        self.failed = 0
        self.may_end = threading.Event()  # standard input has ended
        self.started = time.monotonic()

    def more(self):
        return self.made < self.requests or not self.may_end.is_set()

    async def exchange(self):
        """One request; its answer's body."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(f'GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n\r\n'.encode())
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b'\r\n\r\n')
        status = head.split(b'\r\n')[0].decode(errors='replace')
        if ' 200 ' not in status + ' ' or not body:
            raise ValueError(f'answer {status!r} with {len(body)} bytes')
        return body.decode(errors='replace').strip()

    async def one(self):
        begin = time.monotonic()
        try:
            self.answers[await asyncio.wait_for(self.exchange(), TIMEOUT)] += 1
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            self.failed += 1
            if len(self.failures) < KEPT_FAILURES:
                self.failures.append(f'{begin - self.started:.2f} s: {type(error).__name__} {error}')
        self.latencies.append((time.monotonic() - begin) * 1000)

    async def worker(self):
        while self.more():
            self.made += 1
            due = self.started + self.made / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self.one()

    async def run(self, connections):
        threading.Thread(target=self.await_end, daemon=True).start()
        await asyncio.gather(*(self.worker() for _ in range(connections)))

    def await_end(self):
        while os.read(0, 4096):
            pass
        self.may_end.set()

    def report(self):
        ordered = sorted(self.latencies)
        return {'requests': len(ordered), 'failed': self.failed, 'seconds': round(time.monotonic() - self.started, 1),
                'p50': round(ordered[len(ordered) // 2], 2), 'p99': round(ordered[len(ordered) * 99 // 100], 2),
                'max': round(ordered[-1], 2), 'answers': dict(self.answers), 'failures': self.failures}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--requests', type=int, required=True)
    parser.add_argument('--rate', type=float, required=True)
    parser.add_argument('--connections', type=int, default=8)
    parser.add_argument('url')
    arguments = parser.parse_args()
    load = Load(arguments.url, arguments.requests, arguments.rate)
    asyncio.run(load.run(arguments.connections))
    json.dump(load.report(), sys.stdout)
    print()


if __name__ == '__main__':
    main()
