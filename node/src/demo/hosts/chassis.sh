#!/bin/sh
# The power switch of one simulated host, for its BMC (ipmi_sim's chassis_control) and for whoever cuts the power.
#
# usage: chassis.sh HOST_DIRECTORY get|check NAME...
#        chassis.sh HOST_DIRECTORY set NAME VALUE...
#
# "Off" is said only when every process of the host is gone.
set -u

host_directory=$1
operation=$2
shift 2
. "$host_directory/host.env"

# Prints the start time of a process, which with its pid names it for ever; nothing when there is none.
started_at() {
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    set -- ${stat##*) }
    [ "$1" = Z ] || echo "${20}"
}

init_lives() {
    read -r init started <"$host_directory/init" 2>/dev/null || return 1
    [ "$(started_at "$init")" = "$started" ]
}

# Writes down for judges what happened to the power, with the wall clock's milliseconds.
note() {
    echo "$(date +%s%3N) $1" >>"$host_directory/record"
}

# A real power cut sends no FIN: the cable goes first, then everything dies at once.
power_off() {
    ip link set "$VETH" down 2>/dev/null
    if init_lives; then
        kill -KILL "$init"
        tries=0
        while init_lives; do
            tries=$((tries + 1))
            [ "$tries" -lt 500 ] || return 1
            sleep 0.01
        done
    fi
    # The namespace goes too: a socket that survived in it would speak again after power-on.
    ip link delete "$VETH" 2>/dev/null
    ip netns delete "$NETNS" 2>/dev/null
    rm -f "$host_directory/init"
    # Before anybody can read that it is off.
    [ "$(cat "$host_directory/power")" = 0 ] || note off
    echo 0 >"$host_directory/power"
}

power_on() {
    init_lives && return 0
    ip link delete "$VETH" 2>/dev/null
    ip netns delete "$NETNS" 2>/dev/null
    ip netns add "$NETNS" &&
        ip link add "$VETH" type veth peer name eth0 netns "$NETNS" &&
        ip link set "$VETH" master "$BRIDGE" &&
        ip -n "$NETNS" link set lo up &&
        ip -n "$NETNS" address add "$ADDRESS/24" dev eth0 &&
        ip -n "$NETNS" link set eth0 up || return 1
    [ -e "$host_directory/isolated" ] || ip link set "$VETH" up || return 1
    cat /proc/sys/kernel/random/uuid >"$host_directory/boot_id"
    note "on $(cat "$host_directory/boot_id")"
    echo 1 >"$host_directory/power"
    # Nothing of the caller may stay open in the host, or its BMC's socket would outlive the BMC.
    setsid ip netns exec "$NETNS" unshare --mount --propagation private --pid --fork --kill-child \
        sh "$RIG/init.sh" "$host_directory" \
        </dev/null >>"$host_directory/boot.log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
    tries=0
    until init_lives; do
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || return 1
        sleep 0.01
    done
}

locked() {
    exec 9>"$host_directory/lock"
    flock --timeout 10 9 || return 1
    "$@"
    answer=$?
    exec 9>&-
    return "$answer"
}

restart() {
    power_off && power_on
}

set_one() {
    case $1=$2 in
        power=0 | shutdown=*) locked power_off ;;
        power=1) locked power_on ;;
        reset=*) locked restart ;;
        boot=* | identify=*) ;;
        *) return 1 ;;
    esac
}

case $operation in
    get)
        for name in "$@"; do
            case $name in
                power) echo "power:$(cat "$host_directory/power")" ;;
                boot) echo "boot:default" ;;
                *) exit 1 ;;
            esac
        done
        ;;
    set)
        while [ $# -ge 2 ]; do
            set_one "$1" "$2" || exit 1
            shift 2
        done
        ;;
    check)
        for name in "$@"; do
            case $name in power | reset | boot | shutdown) ;; *) exit 1 ;; esac
        done
        ;;
    *) exit 1 ;;
esac
