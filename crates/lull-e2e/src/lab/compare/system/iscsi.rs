//! iSCSI: the kernel's target, and open-iscsi.

use super::System;

/// A file with write-back, which is how `targetcli` makes one unless it is told otherwise.
pub(super) const WRITE_BACK: System = System {
    name: "iscsi",
    title: "iSCSI",
    variant: "buffered=,fd_buffered_io=1 cache=1",
    settings: "the kernel's target (LIO) with fileio and write-back; open-iscsi with replacement_timeout \
        86400, as its own manual advises for disks that a system cannot do without",
    port: 3260,
    target: TARGET,
    stop: STOP,
    initiator: INITIATOR,
};

/// Each write is on the target's disk before it is answered.
pub(super) const WRITE_THROUGH: System = System {
    name: "iscsi-through",
    title: "iSCSI, write-through",
    variant: "buffered= cache=0",
    settings: "the same with write-back off: each write is on the target's disk before it is answered",
    ..WRITE_BACK
};

const TARGET: &str = r"
modprobe target_core_file && modprobe iscsi_target_mod || exit 1
mount -t configfs configfs /sys/kernel/config
cd /sys/kernel/config/target
for disk in 1 2; do
    device=$PWD/core/fileio_$disk/db$disk
    mkdir -p $device
    echo fd_dev_name=/data/db$disk.img,fd_dev_size=$(stat -c %s /data/db$disk.img)$buffered > $device/control
    echo 6c756c6c-0000-4000-8000-00000000000$disk > $device/wwn/vpd_unit_serial
    echo 1 > $device/enable
    echo $cache > $device/attrib/emulate_write_cache
done
group=$PWD/iscsi/iqn.2026-01.lab:stor/tpgt_1
mkdir -p $group
for disk in 1 2; do
    mkdir $group/lun/lun_$disk
    ln -s $PWD/core/fileio_$disk/db$disk $group/lun/lun_$disk/db
done
echo 0 > $group/attrib/authentication
echo 1 > $group/attrib/generate_node_acls
echo 1 > $group/attrib/cache_dynamic_acls
echo 0 > $group/attrib/demo_mode_write_protect
mkdir $group/np/0.0.0.0:3260
echo 1 > $group/enable
";

const STOP: &str = r"
cd /sys/kernel/config/target/iscsi/iqn.2026-01.lab:stor/tpgt_1
echo 0 > enable
rmdir np/*
rm lun/lun_*/db
rmdir lun/lun_*
cd /sys/kernel/config/target
rmdir iscsi/iqn.2026-01.lab:stor/tpgt_1
rmdir iscsi/iqn.2026-01.lab:stor
rmdir core/fileio_*/db*
rmdir core/fileio_*
";

const INITIATOR: &str = r#"
modprobe iscsi_tcp && modprobe sd_mod || exit 1
mkdir -p /run/lock/iscsi
# iscsid asks who speaks to it.
echo root:x:0:0::/root:/bin/sh > /etc/passwd
echo InitiatorName=iqn.2026-01.lab:web > /etc/iscsi/initiatorname.iscsi
sed -i 's/^\(node.session.timeo.replacement_timeout = \).*/\186400/' /etc/iscsi/iscsid.conf
iscsid </dev/null >/dev/ttyS1 2>&1
iscsiadm --mode discovery --type sendtargets --portal stor || exit 1
iscsiadm --mode node --login || exit 1
for disk in 1 2; do
    until found=$(echo /sys/class/scsi_disk/*:$disk/device/block/sd*) && [ -e "$found" ]; do
        usleep 100000
    done
    ln -s /dev/${found##*/} /dev/db$disk
done
"#;
