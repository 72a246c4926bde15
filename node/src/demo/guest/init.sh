#!/bin/busybox sh
# A guest that does one thing: it says who it is, five times a second, on its second serial port.
#
# With a disk it also writes that there, one record of 512 bytes behind the last one that it finds: the disk is shared by
# all hosts, so a guest that runs twice leaves records of two runs in turn.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox stty -F /dev/ttyS1 raw
for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in quorumfence.instance=*) instance=${word#*=} ;; esac
done
read -r run </proc/sys/kernel/random/uuid
exec 3>/dev/ttyS1
echo "quorumfence-guest $instance $run" >/dev/ttyS0

disk=/dev/vda
if [ -d /modules ]; then
    for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
        insmod "/modules/$module.ko" || echo "cannot load $module" >/dev/ttyS0
    done
    until [ -b "$disk" ]; do sleep 0.1; done
    place=$(dd if="$disk" bs=64k 2>/dev/null | tr -cd '\n' | wc -c)
    record=0
fi

# Writes one record. Direct reads and writes see what other hosts wrote. A call that fails changes nothing here.
log() {
    while :; do
        there=$(dd if="$disk" bs=512 skip="$place" count=1 iflag=direct 2>/dev/null) || return
        [ -n "$there" ] || break
        place=$((place + 1))
    done
    printf '%-511s\n' "quorumfence-log $instance $run $record" |
        dd of="$disk" bs=512 seek="$place" count=1 oflag=direct conv=notrunc 2>/dev/null || return
    place=$((place + 1))
    record=$((record + 1))
}

counter=0
while :; do
    read -r uptime rest </proc/uptime
    echo "quorumfence-guest $instance $run $counter $uptime" >&3
    counter=$((counter + 1))
    [ ! -d /modules ] || log
    /bin/busybox sleep 0.2
done
