//! The kernel's NBD with the programs that belong to it.

use super::System;

/// With a client that connects again.
pub(super) const PERSIST: System = System {
    name: "nbd",
    title: "Linux NBD",
    settings: "nbd-server with flush and fua; nbd-client -persist with a time limit of ten minutes for \
        requests, started again whenever it ends, as a service manager would",
    port: 10809,
    variant: "",
    target: r"
cat > /run/nbd-server.conf <<END
[generic]
[db1]
exportname = /data/db1.img
flush = true
fua = true
[db2]
exportname = /data/db2.img
flush = true
fua = true
END
nbd-server -C /run/nbd-server.conf
",
    stop: "killall -TERM nbd-server; while pidof nbd-server; do usleep 50000; done\n",
    initiator: r#"
modprobe nbd
for disk in 1 2; do
    client="nbd-client stor 10809 /dev/nbd$disk -N db$disk -nonetlink -persist -nofork -timeout 600"
    setsid sh -c "while :; do $client; sleep 1; done" </dev/null >/dev/ttyS1 2>&1 &
done
for disk in 1 2; do
    until grep -qvx 0 /sys/block/nbd$disk/size; do
        usleep 100000
    done
    ln -s /dev/nbd$disk /dev/db$disk
done
"#,
};
