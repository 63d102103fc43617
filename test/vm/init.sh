#!/bin/sh
# Init of a virtual machine (machine.py): makes what a distribution would have made, then goes on as /test/main. Nothing is here but
# busybox, brume, and kubectl with the libraries that it needs.
export PATH=/bin HOME=/root KUBECONFIG=/root/kubeconfig

# The first root is the kernel's rootfs, which pivot_root(2) refuses to leave: go on from a tmpfs.
if [ "$1" != moved ]; then
  /bin/busybox --install -s /bin
  mount -t tmpfs -o size=75%,mode=755 root /new
  mkdir /new/proc /new/sys /new/dev /new/run /new/tmp /new/var /new/root /new/etc
  cp /init /new/
  mv /bin /test /modules /new/
  for libraries in /lib /lib64 /usr; do [ ! -d $libraries ] || mv $libraries /new/; done
  exec /new/bin/busybox switch_root /new /init moved
fi

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
exec </dev/null >/dev/console 2>&1
ip link set lo up
hostname vm

while read -r module; do insmod "/modules/$module" || echo "no module $module"; done </modules/order

ulimit -n 65536
. /test/main
