#!/bin/sh
# The first program of the virtual machine: mounts what the tests need, runs those that the kernel's
# arguments name (`overland.tests=`), says how they ended on the console, and powers off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
export HYPOTHESIS_STORAGE_DIRECTORY=/var/tmp/hypothesis
mount -t proc proc /proc
mount -t sysfs sys /sys 2>/dev/null
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs run /run
mount -t tmpfs -o size=1536m tmp /tmp
mount -o remount,rw /
mkdir -p /dev/shm /overland /packages
mount -t tmpfs shm /dev/shm
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle
echo machine > /proc/sys/kernel/hostname
# The loopback interface has to be up (netdevice(7), SIOCSIFFLAGS), and there is no `ip` here.
python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 1))'
modprobe 9pnet_virtio
for name in overland packages; do
    mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=262144,ro "$name" "/$name"
done
for module in dm-mod dm-snapshot dm-thin-pool xfs zfs; do modprobe "$module"; done
cd /overland || exit
status=0
only=$(sed 's/.*overland.only=\([^ ]*\).*/\1/' /proc/cmdline)
for tests in $(sed 's/.*overland.tests=\([^ ]*\).*/\1/; s/,/ /g' /proc/cmdline); do
    echo "MACHINE-BEGIN $tests"
    PYTHONPATH=/overland/src:/packages python3 -m pytest -p no:cacheprovider -v -rA --tb=short --color=no -k "$only" \
        --basetemp=/var/tmp/pytest -o addopts="--import-mode=importlib -pno:schemathesis" "tests/machine/$tests.py"
    ended=$?
    echo "MACHINE-END $tests $ended"
    [ "$ended" = 0 ] || status=1
done
echo "MACHINE-STATUS $status"
sync
echo o > /proc/sysrq-trigger
sleep 60
