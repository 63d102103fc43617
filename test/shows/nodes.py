"""Where a show runs: a node in a network namespace of this machine, or in a virtual machine whose clock may be set."""
import base64
import hashlib
import pathlib
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'test/e2e'), str(ROOT / 'test/vm')]

from harness import IMAGE, CommandFailed, Node, wait_for  # noqa: E402 (the path comes first)
import machine  # noqa: E402


class LocalNode(Node):
    """On this machine's kernel."""
    patience = 1

    def shell(self, script):
        """What a script prints that runs where the pods' processes and files are."""
        done = subprocess.run(['sh', '-c', script], capture_output=True, text=True)
        if done.returncode != 0:
            raise CommandFailed(script, done)
        return done.stdout

    def import_example(self):
        self.import_image(IMAGE)

    scratch = property(lambda self: self.dir)
    data_dir = property(lambda self: self.dir / 'data')
    set_clock = None  # it is everybody's


class VirtualNode(Node):
    """In an emulated machine with Debian's kernel. Its one link ends in qemu, inside the network namespace, and carries port 6443."""
    patience = 4  # it is so much slower, or more
    scratch = '/root'
    data_dir = '/root/data'

    def __init__(self, name):
        super().__init__(name)
        self.machine = self.line = None

    def boot(self):
        place = machine.kernel()
        machine.make_initramfs(self.dir / 'initramfs', place, 'serve.sh', {'image.tar': machine.image_archive(self.dir, IMAGE)},
                               kubectl=False, modules=['virtio_pci', 'virtio_net'])
        control = self.dir / 'control'
        command = machine.command(place, self.dir / 'initramfs', '-netdev', 'user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:6443-:6443',
                                  '-device', 'virtio-net-pci,netdev=net,romfile=', '-serial', f'file:{self.dir / "console"}',
                                  '-serial', f'unix:{control},server=on,wait=off', memory=6144)
        self.machine = self.popen(*command, stdin=subprocess.DEVNULL)
        wait_for(control.exists, 20)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(control))
        self.line = connection.makefile('rwb', buffering=0)
        wait_for(lambda: 'serving' in (self.dir / 'console').read_text(errors='replace'), 120, 0.2, f'{self.dir}/console')

    def shell(self, script):
        line = base64.b64encode(script.encode())
        for _ in range(5):
            self.line.write(hashlib.md5(line).hexdigest().encode() + b' ' + line + b'\n')
            answer = self.line.readline().decode().strip()
            if answer != 'again':
                break
        else:
            raise RuntimeError('the machine cannot be told: ' + script)
        printed, _, status = answer.rpartition(' ')
        text = base64.b64decode(printed).decode(errors='replace')
        if status != '0':
            raise CommandFailed(script, subprocess.CompletedProcess(script, int(status or -1), text, ''))
        return text

    def start(self, ready=True):
        if not self.machine:
            self.boot()
        self.shell('setsid brume server --data-dir /root/data --write-kubeconfig /root/kubeconfig >>/root/server.log 2>&1 & '
                   'echo $! >/root/server.pid')
        wait_for(lambda: self.shell('cat /root/kubeconfig'), 60, 0.2, 'the kubeconfig is there')
        self.kubeconfig.write_text(self.shell('cat /root/kubeconfig'))
        if ready:
            wait_for(self.is_ready, 120, 0.2, 'the server is ready')

    def is_ready(self):
        return self.api('GET', '/readyz').status == 200

    def stop(self, how=signal.SIGTERM, timeout=30):
        self.shell(f'kill -{int(how)} $(cat /root/server.pid)')

    def import_example(self):
        self.shell('brume image import /test/image.tar --kubeconfig /root/kubeconfig')

    def set_clock(self, seconds):
        """Moves the machine's clock on, or back."""
        self.shell(f'date -s @$(($(date +%s) + {seconds}))')

    def destroy(self):
        if self.machine:
            self.machine.kill()
            self.machine.wait()
        self.process = None
        super().destroy()
