#!/usr/bin/env python3
"""Builds a small container image archive out of busybox-static: make-image.py NAME OUTPUT.tar [--file SRC=DEST]... [--cmd ARG]... [--layers N]

The archive is of the kind that `docker save` writes, with one layer: /bin/busybox with a link for each applet, /etc/passwd,
/etc/group, /tmp, and the named files. Of --layers N, each but the first writes its number to /layer and makes /layers/NUMBER.
Equal input gives equal bytes.
"""
import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile

EPOCH = 1_700_000_000  # a fixed time, so that the same input makes the same image


def add(tar: tarfile.TarFile, name: str, data: bytes = b'', mode: int = 0o644, kind: bytes = tarfile.REGTYPE, link: str = '') -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.type, info.linkname = len(data), mode, EPOCH, kind, link
    tar.addfile(info, io.BytesIO(data))


def make_layer(files: list[tuple[str, str]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as tar:
        for name in ('bin', 'etc', 'home', 'root', 'tmp', 'usr', 'usr/bin', 'var', 'www'):
            add(tar, name, mode=0o1777 if name == 'tmp' else 0o755, kind=tarfile.DIRTYPE)
        with open('/bin/busybox', 'rb') as binary:
            add(tar, 'bin/busybox', binary.read(), 0o755)
        for applet in subprocess.run(['/bin/busybox', '--list'], capture_output=True, text=True, check=True).stdout.split():
            if applet != 'busybox':
                add(tar, 'bin/' + applet, mode=0o777, kind=tarfile.SYMTYPE, link='busybox')
        add(tar, 'etc/passwd', b'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\nuser:x:1000:1000::/home:/bin/sh\n')
        add(tar, 'etc/group', b'root:x:0:\nnogroup:x:65534:\nuser:x:1000:\nextra:x:2000:user\n')
        for source, target in files:
            with open(source, 'rb') as file:
                add(tar, target.lstrip('/'), file.read(), 0o755)
    return out.getvalue()


def make_small_layer(number: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as tar:
        add(tar, 'layer', b'%d\n' % number)
        add(tar, 'layers', mode=0o755, kind=tarfile.DIRTYPE)
        add(tar, f'layers/{number}')
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name')
    parser.add_argument('output')
    parser.add_argument('--file', action='append', default=[], metavar='SRC=DEST')
    parser.add_argument('--cmd', action='append', default=[])
    parser.add_argument('--user', default='')
    parser.add_argument('--env', action='append', default=[])
    parser.add_argument('--layers', type=int, default=1)
    options = parser.parse_args()
    layers = [make_layer([tuple(f.split('=', 1)) for f in options.file]), *map(make_small_layer, range(2, options.layers + 1))]
    machine = {'x86_64': 'amd64', 'aarch64': 'arm64'}[subprocess.run(['uname', '-m'], capture_output=True, text=True, check=True).stdout.strip()]
    config = {
        'architecture': machine,
        'os': 'linux',
        'created': '2023-11-14T22:13:20Z',
        'config': {'Cmd': options.cmd or ['/bin/sh'], 'Env': ['PATH=/bin:/usr/bin', *options.env], 'WorkingDir': '/', 'User': options.user},
        'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + hashlib.sha256(layer).hexdigest() for layer in layers]},
        'history': [{'created': '2023-11-14T22:13:20Z', 'created_by': 'make-image.py ' + options.name}],
    }
    config_bytes = json.dumps(config, sort_keys=True).encode()
    config_name = hashlib.sha256(config_bytes).hexdigest() + '.json'
    names = [f'layer{number}.tar' for number in range(1, len(layers) + 1)]
    manifest = [{'Config': config_name, 'RepoTags': [options.name], 'Layers': names}]
    with tarfile.open(options.output, 'w', format=tarfile.PAX_FORMAT) as tar:
        add(tar, config_name, config_bytes)
        for name, layer in zip(names, layers):
            add(tar, name, layer)
        add(tar, 'manifest.json', json.dumps(manifest).encode())


if __name__ == '__main__':
    sys.exit(main())
