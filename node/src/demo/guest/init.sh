#!/bin/busybox sh
# A guest that does one thing: it says who it is, five times a second, on its second serial port.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox stty -F /dev/ttyS1 raw
for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in quorumfence.instance=*) instance=${word#*=} ;; esac
done
read -r run </proc/sys/kernel/random/uuid
exec 3>/dev/ttyS1
echo "quorumfence-guest $instance $run" >/dev/ttyS0
counter=0
while :; do
    read -r uptime rest </proc/uptime
    echo "quorumfence-guest $instance $run $counter $uptime" >&3
    counter=$((counter + 1))
    /bin/busybox sleep 0.2
done
