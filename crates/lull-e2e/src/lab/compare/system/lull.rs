//! Lull, through devices of the initiator's kernel.

use super::System;

/// Through the kernel's NBD.
pub(super) const KERNEL_NBD: System = System {
    name: "lull-nbd",
    title: "Lull, kernel NBD",
    variant: "module=nbd device=nbd key=nbd-device",
    settings: "defaults; one initiator daemon with both disks as devices of the kernel's NBD",
    port: 10820,
    target: TARGET,
    stop: "",
    initiator: INITIATOR,
};

/// Through ublk.
pub(super) const UBLK: System = System {
    name: "lull-ublk",
    title: "Lull, ublk",
    variant: "module=ublk_drv device=ublkb key=ublk",
    settings: "defaults; one initiator daemon with both disks as devices of ublk",
    ..KERNEL_NBD
};

const TARGET: &str = "\
exec lull target --name stor --insecure --listen tcp:0.0.0.0:10820 --state /data/state \\
    db1=file:/data/db1.img db2=file:/data/db2.img
";

const INITIATOR: &str = r#"modprobe $module
cat > /run/lull.toml <<END
[initiator]
name = "web"
state = "/run/lull"
insecure = true
END
for disk in 1 2; do
    cat >> /run/lull.toml <<END
[[attachment]]
name = "db$disk"
uri = "lull://stor/db$disk"
$key = "/dev/$device$disk"
END
done
setsid lull initiator --config /run/lull.toml </dev/null >/dev/ttyS1 2>&1 &
for disk in 1 2; do
    until grep -qvx 0 /sys/block/$device$disk/size 2>/dev/null; do
        usleep 100000
    done
    ln -s /dev/$device$disk /dev/db$disk
done
"#;
