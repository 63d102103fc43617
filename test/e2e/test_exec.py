"""What exec owes its clients: every byte of the output and the exit status, over each protocol, however short the command and however slow
the client."""
import base64
import concurrent.futures
import json
import os
import subprocess
import time
import unittest
import urllib.parse

from harness import NodeTest, pod
from rawclient import Refused, WebSocket, tls_context

MIB = 1 << 20
BIG = f'head -c {MIB - 4} /dev/zero | tr "\\0" x; echo end; exit 7'
SPDY = {'KUBECTL_REMOTE_COMMAND_WEBSOCKETS': 'false'}


class Exec(NodeTest):
    def setUp(self):
        super().setUp()
        self.apply(pod('box', 'sleep 100000'))
        self.wait_running('box')

    def open(self, protocol, script, stdin=False, **options):
        query = [('command', word) for word in ('sh', '-c', script)] + [('stdout', 'true'), ('stderr', 'true')] + [('stdin', 'true')] * stdin
        socket = WebSocket(self.node.name, tls_context(self.node.kubeconfig),
                           f'/api/v1/namespaces/{self.ns}/pods/box/exec?' + urllib.parse.urlencode(query), protocol, **options)
        self.addCleanup(socket.close)
        return socket

    def read_to_end(self, socket, base64_text=False):
        """Output by channel up to the server's close."""
        channels = {1: b'', 2: b'', 3: b''}
        while True:
            opcode, payload = socket.receive()
            if opcode == WebSocket.CLOSE:
                self.assertEqual(1000, int.from_bytes(payload[:2], 'big'))
                socket.send(WebSocket.CLOSE, payload)
                return channels
            if opcode == WebSocket.PING:
                socket.send(WebSocket.PONG, payload)
            elif opcode == WebSocket.PONG:
                pass  # of a ping that the test has sent
            elif base64_text:
                channels[int(chr(payload[0]))] += base64.b64decode(payload[1:])
            else:
                channels[payload[0]] += payload[1:]

    def exit_code(self, channels):
        status = json.loads(channels[3])
        return 0 if status['status'] == 'Success' else int(status['details']['causes'][0]['message'])

    def stream(self, path, protocol):
        socket = WebSocket(self.node.name, tls_context(self.node.kubeconfig), path, protocol)
        self.addCleanup(socket.close)
        return socket

    def test_logs_over_websocket(self):
        self.apply(pod('talker', 'echo one; sleep 0.5; echo two', restartPolicy='Never'))
        path = f'/api/v1/namespaces/{self.ns}/pods/talker/log?follow=true'
        self.wait(lambda: self.peek('pods', 'talker')['status']['phase'] in ('Running', 'Succeeded'))
        for protocol, kind, decode in (('binary.k8s.io', WebSocket.BINARY, bytes),
                                       ('base64.binary.k8s.io', WebSocket.TEXT, base64.b64decode)):
            socket = self.stream(path, protocol)
            text = b''
            while (frame := socket.receive())[0] != WebSocket.CLOSE:
                self.assertEqual(kind, frame[0])
                text += decode(frame[1])
            self.assertEqual(b'one\ntwo\n', text)
            self.assertEqual(1000, int.from_bytes(frame[1][:2], 'big'))
        with self.assertRaises(Refused) as refused:
            self.stream(path, 'v5.channel.k8s.io')
        self.assertIn('binary.k8s.io', str(refused.exception))

    def test_watch_over_websocket(self):
        socket = self.stream(f'/api/v1/namespaces/{self.ns}/pods?watch=true', 'binary.k8s.io')
        opcode, text = socket.receive()
        self.assertEqual(WebSocket.TEXT, opcode)
        event = json.loads(text)
        self.assertEqual(('ADDED', 'box'), (event['type'], event['object']['metadata']['name']))
        socket.send(WebSocket.CLOSE, (1000).to_bytes(2, 'big'))
        while socket.receive()[0] != WebSocket.CLOSE:
            pass

    def test_an_unfinished_line_stays_unfinished(self):
        self.apply(pod('blurt', '/bin/echo -n DONE; exit 1', restartPolicy='Never', terminationMessagePolicy='FallbackToLogsOnError'))
        status = self.wait(lambda: self.peek('pods', 'blurt')['status']['containerStatuses'][0]['state']['terminated'])
        self.assertEqual('DONE', status['message'])
        self.assertEqual('DONE', self.k('logs', 'blurt'))

    def test_nothing_before_the_client_reads(self):
        """client-go up to 1.33 drops what comes before it has made its streams, so the server first sees it read."""
        before = time.monotonic()
        socket = self.open('v5.channel.k8s.io', 'echo hi; exit 3')
        opcode, payload = socket.receive()
        self.assertEqual(WebSocket.PING, opcode, payload)
        try:
            early = socket.receive(0.3)
            self.assertGreaterEqual(time.monotonic() - before, 1, early)  # the server's patience ended: this machine is slow
        except TimeoutError:
            pass
        socket.send(WebSocket.PONG, payload)
        channels = self.read_to_end(socket)
        self.assertEqual(b'hi\n', channels[1])
        self.assertEqual(3, self.exit_code(channels))
        never = self.open('v4.channel.k8s.io', 'echo hi')  # a client that answers no ping is served all the same
        self.assertEqual(WebSocket.PING, never.receive()[0])
        self.assertEqual(b'hi\n', self.read_to_end(never)[1])

    def test_every_byte(self):
        for protocol in ('v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io'):
            with self.subTest(protocol):
                channels = self.read_to_end(self.open(protocol, BIG), 'base64' in protocol)
                self.assertEqual(MIB, len(channels[1]))
                self.assertEqual(b'xend\n', channels[1][-5:])
                self.assertEqual(7, self.exit_code(channels))

    def test_slow_client_that_still_sends(self):
        """Input that nobody takes any more must not cost the client the end of the output."""
        socket = self.open('v5.channel.k8s.io', 'head -c 1 >/dev/null; ' + BIG, stdin=True, receive_buffer=65536)
        for _ in range(10):
            socket.send(WebSocket.BINARY, b'\0' + bytes(20000))
        for _ in range(6):
            time.sleep(0.5)
            socket.send(WebSocket.BINARY, b'\0' + bytes(1000))
            socket.send(WebSocket.PING, b'here')
        channels = self.read_to_end(socket)
        self.assertEqual(MIB, len(channels[1]))
        self.assertEqual(7, self.exit_code(channels))

    def test_slow_kubectl(self):
        for environment in ({}, SPDY):
            with self.subTest(**environment):
                size = 12 * MIB
                process = subprocess.Popen(
                    ['nsenter', '--net=/run/netns/' + self.node.name, self.node.kubectl_binary, '-n', self.ns, 'exec', 'box', '--', 'sh', '-c',
                     f'head -c {size} /dev/zero; exit 7'],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**self.node.environment(), **environment})
                time.sleep(7)  # kubectl sends pings every 5 s
                output, errors = process.communicate(timeout=60)
                self.assertEqual((size, 7), (len(output), process.returncode), errors)

    def test_short_commands_by_kubectl(self):
        def run(number):
            environment = SPDY if number % 4 == 3 else {}
            command = ('sh', '-c', BIG) if number % 8 in (2, 3) else ('sh', '-c', 'echo hi; exit 5')
            result = self.node.run(self.node.kubectl_binary, '-n', self.ns, 'exec', 'box', '--', *command, check=False, env=environment)
            good = (MIB, 7) if number % 8 in (2, 3) else (3, 5)
            return [] if (len(result.stdout), result.returncode) == good and 'Unknown stream' not in result.stderr else [
                (number, len(result.stdout), result.returncode, result.stderr)]

        with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
            self.assertEqual([], sum(pool.map(run, range(48)), []))


if __name__ == '__main__':
    unittest.main()
