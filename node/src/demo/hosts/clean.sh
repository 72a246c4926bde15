#!/bin/sh
# Removes everything of one rig but its files. Doing it twice does no harm.
#
# usage: clean.sh RIG_DIRECTORY
set -u

rig=$1
. "$rig/rig.env"

for host_directory in "$rig"/hosts/*/; do
    [ -e "$host_directory/host.env" ] || continue
    sh "$rig/chassis.sh" "${host_directory%/}" set power 0
    # A BMC is named by pid and start time, so that no stranger is killed.
    if read -r pid started <"$host_directory/bmc.pid" 2>/dev/null && stat=$(cat "/proc/$pid/stat" 2>/dev/null); then
        set -- ${stat##*) }
        [ "${20}" != "$started" ] || kill -KILL "$pid"
    fi
    rm -f "$host_directory/bmc.pid"
done
ip link delete "$BRIDGE" 2>/dev/null
rm -f "$REGISTRY/$RUN"
