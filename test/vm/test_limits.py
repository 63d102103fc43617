"""What this machine's kernel may lack, in a virtual machine: limits of memory, cpu and devices, and an overlayfs as old as
Debian 12's. The machine has no network device.

guest.sh makes the checks there and prints one line each, which are this test's sub-tests.
"""
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import machine  # which finds the harness
from harness import IMAGE, pod

TIMEOUT = 240  # seconds
MANY_LAYERS = 127  # as many as Docker gives an image
MANY_IMAGE = 'localhost/many:1'


def resources(requests=None, limits=None):
    return {key: value for key, value in (('requests', requests), ('limits', limits)) if value}


def pods():
    """The pods that guest.sh looks at, by name. `tail /dev/zero` takes memory without end."""
    on = {'runs': 'on'}
    small = resources(requests={'cpu': '10m'}, limits={'memory': '32Mi'})
    return [
        pod('guaranteed', 'sleep', '100000', labels=on, resources=resources(limits={'memory': '64Mi', 'cpu': '500m'})),
        pod('burstable', 'exec sleep 100000', labels=on, resources=resources(requests={'memory': '16Mi', 'cpu': '250m'})),
        pod('besteffort', 'exec sleep 100000', labels=on),
        pod('layers', 'exec sleep 100000', image=MANY_IMAGE, labels=on),
        pod('busy', 'while :; do :; done', labels=on, resources=resources(limits={'cpu': '100m'})),
        pod('oom', 'exec tail /dev/zero', restartPolicy='Never', resources=small),
        pod('oom-child', 'tail /dev/zero; exec sleep 100000', restartPolicy='Never', resources=small),
        pod('oom-restarted', 'exec tail /dev/zero', resources=small),
        pod('below', 'head -c 8000000 /dev/zero | tail -c 8000000 >/dev/null', restartPolicy='Never', resources=small),
    ]


@unittest.skipUnless(platform.machine() == 'x86_64', 'the kernel is for x86_64')
@unittest.skipUnless(shutil.which('qemu-system-x86_64'), 'no qemu-system-x86_64')
class Limits(unittest.TestCase):
    def test_limits(self):
        place = machine.kernel()
        with tempfile.TemporaryDirectory(prefix='brume-vm-') as scratch:
            files = {'image.tar': machine.image_archive(scratch, IMAGE),
                     'many.tar': machine.image_archive(scratch, MANY_IMAGE, '--layers', MANY_LAYERS),
                     'pods.json': json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': pods()}).encode()}
            machine.make_initramfs(scratch + '/initramfs', place, 'guest.sh', files)
            output = self.boot(machine.command(place, scratch + '/initramfs', '-nic', 'none', '-serial', 'stdio'))
        lines = output.splitlines()
        checks = [line for line in lines if re.match(r'(ok|FAILED) \S', line)]
        print(f'{len(checks)} checks in the virtual machine, {sum(line.startswith("FAILED") for line in checks)} failed', file=sys.stderr)
        for line in checks:
            with self.subTest(line.split()[1].rstrip(':')):
                self.assertTrue(line.startswith('ok '), line)
        self.assertTrue('done' in lines, 'the machine did not come to its end:\n' + output[-6000:])
        if any(line.startswith('FAILED') for line in checks):
            print(output, file=sys.stderr)

    def boot(self, command):
        """What the machine printed on its console. It ends itself; panics end it too."""
        try:
            output = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, timeout=TIMEOUT).stdout
        except subprocess.TimeoutExpired as late:
            output = (late.stdout or b'') + f'\nended after {TIMEOUT} s\n'.encode()
        return output.decode(errors='replace').replace('\r', '')


if __name__ == '__main__':
    unittest.main()
