#!/bin/sh
# The power switch of one simulated host, for its BMC (ipmi_sim's chassis_control).
#
# usage: chassis.sh HOST_DIRECTORY get|check NAME...
#        chassis.sh HOST_DIRECTORY set NAME VALUE...
#
# An order is a file that the demo looks for; "off" is said only when the demo wrote it down.
set -u

host_directory=$1
operation=$2
shift 2

power_off() {
    : >"$host_directory/order"
    tries=0
    until [ "$(cat "$host_directory/power")" = 0 ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || return 1
        sleep 0.01
    done
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
            case $1=$2 in
                power=0 | shutdown=*) power_off || exit 1 ;;
                boot=* | identify=*) ;;
                *) exit 1 ;;
            esac
            shift 2
        done
        ;;
    check)
        for name in "$@"; do
            case $name in power | boot | shutdown) ;; *) exit 1 ;; esac
        done
        ;;
    *) exit 1 ;;
esac
