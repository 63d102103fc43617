"""A virtual machine for what this machine's kernel may lack or must not be asked for: Debian's cloud kernel, with every controller of
cgroup v2, emulated, so that it needs nothing of the host.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'test/e2e'))
from harness import BRUME, newest_kubectl  # noqa: E402

CACHE = pathlib.Path(os.environ.get('BRUME_VM_CACHE', '/var/cache/brume-vm'))
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


def modules_in_order(place, wanted):
    """Files of the wanted modules and of what they depend on, each after what it depends on."""
    files = {f.name.partition('.ko')[0].replace('-', '_'): f for f in place.rglob('*.ko*')}
    order = []

    def add(name):
        if name not in files or files[name] in order:
            return  # built in, or seen
        data = run('xz', '-dc', files[name], encoding='latin-1') if files[name].suffix == '.xz' else files[name].read_text(encoding='latin-1')
        for needed in re.search(r'\0depends=([^\0]*)\0', data).group(1).split(','):
            add(needed.replace('-', '_'))
        order.append(files[name])
    for name in wanted:
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


def libraries(binary):
    """What a program needs beside itself: nothing for a static one. Debian 13's kubectl is not."""
    found = subprocess.run(['ldd', binary], capture_output=True, text=True).stdout
    return re.findall(r'(/\S+) \(0x', found)


def make_initramfs(path, place, main, files, kubectl=True, modules=()):
    """The machine's file system: init.sh, which goes on as `main`, busybox, brume, kubectl, the kernel's modules, and `files`
    (name: bytes) in /test. `modules` are more modules than MODULES."""
    archive = Initramfs(path)
    programs = {'busybox': '/bin/busybox', 'brume': BRUME, **({'kubectl': newest_kubectl()} if kubectl else {})}
    needed = libraries(programs['kubectl']) if kubectl else []
    folders = {str(parent)[1:] for library in needed for parent in pathlib.Path(library).parents if str(parent) != '/'}
    for name in ('bin', 'dev', 'new', 'modules', 'test', *sorted(folders)):
        archive.directory(name)
    for library in needed:
        archive.add(library[1:], 0o100755, pathlib.Path(library).read_bytes())
    archive.add('dev/console', 0o020600, device=(5, 1))
    archive.add('init', 0o100755, (ROOT / 'test/vm/init.sh').read_bytes())
    for name, source in programs.items():
        archive.add('bin/' + name, 0o100755, pathlib.Path(source).read_bytes())
    archive.add('bin/sh', 0o120777, b'busybox')
    for name, data in {'main': (ROOT / 'test/vm' / main).read_bytes(), **files}.items():
        archive.add('test/' + name, 0o100644, data)
    order = modules_in_order(place, [*MODULES, *modules])
    for file in order:
        archive.add('modules/' + file.name, 0o100644, file.read_bytes())
    archive.add('modules/order', 0o100644, ''.join(f.name + '\n' for f in order).encode())
    archive.close()


def command(place, initramfs, *devices, memory=1024):
    """What starts the machine: without any device but those given."""
    return list(map(str, ['qemu-system-x86_64', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', memory, '-nodefaults',
                          '-no-reboot', '-display', 'none', '-kernel', next(place.glob('boot/vmlinuz-*')), '-initrd', initramfs,
                          '-append', 'console=ttyS0 quiet loglevel=1 panic=-1 rdinit=/init', *devices]))


def image_archive(scratch, name, *args):
    """The bytes of an image as scripts/make-image.py makes it."""
    path = pathlib.Path(scratch, 'image.tar')
    run(ROOT / 'scripts/make-image.py', name, path, *args)
    return path.read_bytes()
