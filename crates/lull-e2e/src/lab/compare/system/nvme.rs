//! NVMe over TCP, both sides of it in the kernels.

use super::System;

/// On disks with a cache that dies with their power, as most have one: loop devices, which have the page cache for it.
pub(super) const CACHED: System = System {
    name: "nvme",
    title: "NVMe/TCP",
    variant: "disks=loop",
    settings: "nvmet on block devices that have a cache and flush it when they are told to, with fixed \
        identities; nvme connect with ctrl-loss-tmo -1 (never give up), reconnect-delay 2 (10 by default), \
        keep-alive-tmo 5",
    port: 4420,
    target: TARGET,
    stop: STOP,
    initiator: INITIATOR,
};

/// On disks that keep what they are given.
pub(super) const DIRECT: System = System {
    name: "nvme-direct",
    title: "NVMe/TCP, direct",
    variant: "disks=direct",
    settings: "the same on files that are written past the page cache, to a disk that loses nothing \
        with its power: one without a cache, or with a battery",
    ..CACHED
};

const TARGET: &str = r"
modprobe nvmet && modprobe nvmet_tcp || exit 1
mount -t configfs configfs /sys/kernel/config
cd /sys/kernel/config/nvmet
subsystem=$PWD/subsystems/nqn.2026-01.lab:stor
mkdir $subsystem
echo 1 > $subsystem/attr_allow_any_host
echo stor1 > $subsystem/attr_serial
for disk in 1 2; do
    mkdir $subsystem/namespaces/$disk
    cd $subsystem/namespaces/$disk
    path=/data/db$disk.img
    if [ $disks = loop ]; then
        modprobe loop
        losetup /dev/loop$disk $path
        path=/dev/loop$disk
    fi
    echo -n $path > device_path
    echo 6c756c6c-0000-4000-8000-00000000000$disk > device_uuid
    echo 1 > enable
done
mkdir /sys/kernel/config/nvmet/ports/1
cd /sys/kernel/config/nvmet/ports/1
echo tcp > addr_trtype
echo ipv4 > addr_adrfam
echo 0.0.0.0 > addr_traddr
echo 4420 > addr_trsvcid
ln -s $subsystem subsystems/
";

const STOP: &str = r"
cd /sys/kernel/config/nvmet
rm ports/1/subsystems/*
rmdir ports/1
for disk in 1 2; do
    echo 0 > subsystems/*/namespaces/$disk/enable
    rmdir subsystems/*/namespaces/$disk
    [ $disks = loop ] && losetup -d /dev/loop$disk
done
rmdir subsystems/*
";

const INITIATOR: &str = r"
modprobe nvme_tcp
address=$(sed -n 's, stor$,,p' /etc/hosts)
nvme connect --transport tcp --traddr $address --trsvcid 4420 --nqn nqn.2026-01.lab:stor \
    --hostnqn nqn.2014-08.org.nvmexpress:uuid:6c756c6c-0000-4000-8000-0000000000ff \
    --hostid 6c756c6c-0000-4000-8000-0000000000ff \
    --ctrl-loss-tmo -1 --reconnect-delay 2 --keep-alive-tmo 5 || exit 1
for disk in 1 2; do
    until [ -b /dev/nvme0n$disk ]; do
        usleep 100000
    done
    ln -s /dev/nvme0n$disk /dev/db$disk
done
";
