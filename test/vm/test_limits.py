"""What this machine's kernel may lack, in a virtual machine: limits of memory, cpu and devices, and an overlayfs as old as
Debian 12's. The kernel is Debian's cloud kernel, with every controller of cgroup v2, emulated, so that it needs nothing of the
host. It has no network device.

guest.sh is the machine's init: it makes the checks and prints one line each, which are this test's sub-tests.
"""
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'test/e2e'))
from harness import BRUME, IMAGE, newest_kubectl, pod  # noqa: E402

CACHE = pathlib.Path(os.environ.get('BRUME_VM_CACHE', '/var/cache/brume-vm'))
TIMEOUT = 240  # seconds
MANY_LAYERS = 127  # as many as Docker gives an image
MANY_IMAGE = 'localhost/many:1'
# What brume needs of a modular kernel; what these depend on is found in them. The kernel asks for crc32c by an alias.
MODULES = ['crc32c_generic', 'overlay', 'veth', 'bridge', 'nf_tables', 'nf_conntrack', 'nf_conntrack_netlink', 'nft_chain_nat', 'nft_ct',
           'nft_fib_inet', 'nft_fib_ipv4', 'nft_hash', 'nft_masq', 'nft_nat', 'nft_numgen', 'nft_redir', 'nft_reject_inet', 'nft_reject_ipv4']


def run(*args, **kwargs):
    return subprocess.run(list(map(str, args)), check=True, text=True, stdout=subprocess.PIPE, **kwargs).stdout


def kernel_package():
    return re.search(r'Depends: (linux-image-\S+)', run('apt-cache', 'depends', 'linux-image-cloud-amd64')).group(1)


def kernel():
    """The directory of the newest cloud kernel of this Debian, downloaded and unpacked once, not installed."""
    name = kernel_package()
    if not (CACHE / name).exists():
        run('apt-get', 'update', '-q')
        name = kernel_package()
    place = CACHE / name
    if not place.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            run('apt-get', 'download', '-q', name, cwd=scratch)
            run('dpkg-deb', '-x', next(pathlib.Path(scratch).glob('*.deb')), scratch + '/unpacked')
            pathlib.Path(scratch, 'unpacked').rename(place)
    return place


def modules_in_order(place):
    """Files of MODULES and of what they depend on, each after what it depends on."""
    files = {f.name.partition('.ko')[0].replace('-', '_'): f for f in place.rglob('*.ko*')}
    order = []

    def add(name):
        if name not in files or files[name] in order:
            return  # built in, or seen
        data = run('xz', '-dc', files[name], encoding='latin-1') if files[name].suffix == '.xz' else files[name].read_text(encoding='latin-1')
        for needed in re.search(r'\0depends=([^\0]*)\0', data).group(1).split(','):
            add(needed.replace('-', '_'))
        order.append(files[name])
    for name in MODULES:
        add(name)
    return order


class Initramfs:
    """A cpio archive of the "newc" kind: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel."""

    def __init__(self, path):
        self.file = open(path, 'wb')
        self.inode = 0

    def add(self, name, mode, data=b'', device=(0, 0)):
        self.inode += 1
        encoded = name.encode() + b'\0'
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        for part in (b'070701' + b''.join(b'%08X' % f for f in fields) + encoded, data):
            self.file.write(part + bytes(-len(part) % 4))

    def directory(self, name):
        self.add(name, 0o040755)

    def close(self):
        self.add('TRAILER!!!', 0)
        self.file.close()


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


def libraries(binary):
    """What a program needs beside itself: nothing for a static one. Debian 13's kubectl is not."""
    found = subprocess.run(['ldd', binary], capture_output=True, text=True).stdout
    return re.findall(r'(/\S+) \(0x', found)


def make_initramfs(path, place, scratch):
    image, many = (pathlib.Path(scratch, name) for name in ('image.tar', 'many.tar'))
    run(ROOT / 'scripts/make-image.py', IMAGE, image)
    run(ROOT / 'scripts/make-image.py', MANY_IMAGE, many, '--layers', MANY_LAYERS)
    archive = Initramfs(path)
    needed = libraries(newest_kubectl())
    folders = {str(parent)[1:] for library in needed for parent in pathlib.Path(library).parents if str(parent) != '/'}
    for name in ('bin', 'dev', 'new', 'modules', 'test', *sorted(folders)):
        archive.directory(name)
    for library in needed:
        archive.add(library[1:], 0o100755, pathlib.Path(library).read_bytes())
    archive.add('dev/console', 0o020600, device=(5, 1))
    archive.add('init', 0o100755, (ROOT / 'test/vm/guest.sh').read_bytes())
    for name, source in (('busybox', '/bin/busybox'), ('brume', BRUME), ('kubectl', newest_kubectl())):
        archive.add('bin/' + name, 0o100755, pathlib.Path(source).read_bytes())
    archive.add('bin/sh', 0o120777, b'busybox')
    for file in (image, many):
        archive.add('test/' + file.name, 0o100644, file.read_bytes())
    archive.add('test/pods.json', 0o100644, json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': pods()}).encode())
    order = modules_in_order(place)
    for file in order:
        archive.add('modules/' + file.name, 0o100644, file.read_bytes())
    archive.add('modules/order', 0o100644, ''.join(f.name + '\n' for f in order).encode())
    archive.close()


@unittest.skipUnless(platform.machine() == 'x86_64', 'the kernel is for x86_64')
@unittest.skipUnless(shutil.which('qemu-system-x86_64'), 'no qemu-system-x86_64')
class Limits(unittest.TestCase):
    def test_limits(self):
        place = kernel()
        with tempfile.TemporaryDirectory(prefix='brume-vm-') as scratch:
            make_initramfs(scratch + '/initramfs', place, scratch)
            output = self.boot(next(place.glob('boot/vmlinuz-*')), scratch + '/initramfs')
        lines = output.splitlines()
        checks = [line for line in lines if re.match(r'(ok|FAILED) \S', line)]
        print(f'{len(checks)} checks in the virtual machine, {sum(line.startswith("FAILED") for line in checks)} failed', file=sys.stderr)
        for line in checks:
            with self.subTest(line.split()[1].rstrip(':')):
                self.assertTrue(line.startswith('ok '), line)
        self.assertTrue('done' in lines, 'the machine did not come to its end:\n' + output[-6000:])
        if any(line.startswith('FAILED') for line in checks):
            print(output, file=sys.stderr)

    def boot(self, vmlinuz, initramfs):
        """What the machine printed on its console. It ends itself; panics end it too."""
        command = ['qemu-system-x86_64', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '1024', '-nic', 'none', '-nodefaults',
                   '-no-reboot', '-display', 'none', '-serial', 'stdio', '-kernel', vmlinuz, '-initrd', initramfs,
                   '-append', 'console=ttyS0 quiet loglevel=1 panic=-1 rdinit=/init']
        try:
            output = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, timeout=TIMEOUT).stdout
        except subprocess.TimeoutExpired as late:
            output = (late.stdout or b'') + f'\nended after {TIMEOUT} s\n'.encode()
        return output.decode(errors='replace').replace('\r', '')


if __name__ == '__main__':
    unittest.main()
