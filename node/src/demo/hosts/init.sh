#!/bin/sh
# PID 1 of one simulated host: everything on the host is its descendant and dies with it.
#
# usage: init.sh HOST_DIRECTORY   (in fresh mount, network and PID namespaces)
set -eu

host_directory=$1
. "$host_directory/host.env"

# /proc is still the outer one here, so the first NSpid is the pid by which the outside can kill this host.
while read -r key pid rest; do
    [ "$key" != NSpid: ] || break
done </proc/self/status
read -r stat </proc/self/stat
set -- ${stat##*) }
echo "$pid ${20}" >"$host_directory/init.written"
mv "$host_directory/init.written" "$host_directory/init"

mount -t proc proc /proc
mount --bind "$host_directory/boot_id" /proc/sys/kernel/random/boot_id

# A /dev of its own, above all without kvm.
mount -t tmpfs -o mode=755 dev "$host_directory/dev"
for node in null zero full random urandom tty; do
    cp -a "/dev/$node" "$host_directory/dev/$node"
done
mkdir "$host_directory/dev/pts" "$host_directory/dev/shm" "$host_directory/dev/net"
mount --bind /dev/pts "$host_directory/dev/pts"
mount -t tmpfs shm "$host_directory/dev/shm"
cp -a /dev/ptmx "$host_directory/dev/ptmx"
[ ! -e /dev/net/tun ] || cp -a /dev/net/tun "$host_directory/dev/net/tun"
mount --move "$host_directory/dev" /dev

# What a reboot loses, and what it keeps.
rm -rf "$host_directory/run"
mkdir -p "$host_directory/run/libvirt" "$host_directory/run/lock"
mount --bind "$host_directory/lib" /var/lib/libvirt
mount --bind "$SHARED/guests/$HOST" /var/lib/libvirt/guests
mount --bind "$host_directory/etc" /etc/libvirt
mount --bind "$host_directory/log" /var/log/libvirt
mount --bind "$RIG/cache" /var/cache/libvirt
mount --bind "$host_directory/run" /run

# Returns when the socket answers.
libvirtd --daemon

# The command, as a service that is always restarted.
while [ -s "$host_directory/command" ]; do
    sh -c 'echo $$ >"$1/command.pid"; exec sh "$1/command"' command "$host_directory" </dev/null >>"$host_directory/command.log" 2>&1 || echo "the command ended with $?" >>"$host_directory/command.log"
    sleep 1
done
sleep infinity &
wait
