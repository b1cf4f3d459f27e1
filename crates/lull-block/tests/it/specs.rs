//! What people type, right and wrong.

use lull_block::{BackendSpec, OpenError, check};

use crate::open_text;

#[test]
fn a_spec_is_shown_as_it_can_be_typed() {
    for text in [
        "file:/srv/disk.img",
        "file:/srv/disk.img,direct=on,size=1G",
        "file:/srv/disk.img,read-only,network=on",
        "file:/srv/disk.img,direct=on,engine=uring",
        "file:/srv/disk.img,engine=threads",
        "file:/srv/a\\,b",
        "mem:64M",
        "null:1T",
        "faulty:delay=10000us,fail-flush=2,fail-writes-at=4096+512:file:/x,size=1M",
        "faulty:volatile:file:/x",
        "faulty::mem:512",
        "nbd://host:10809/x,read-only,write-through",
        "nbd+unix:///x?socket=/run/a\\,b",
        "faulty:delay=1000us:nbd+unix:///x?socket=/run/n.sock",
    ] {
        let spec: BackendSpec = text.parse().unwrap();
        assert_eq!(spec.to_string(), text);
    }
}

#[test]
fn bad_specs_name_the_thing_and_the_next_step() {
    for (text, names, next) in [
        ("/srv/disk.img", "\"/srv/disk.img\"", "write file:/srv/disk.img"),
        ("/srv/a:b", "\"/srv/a:b\"", "write file:/srv/a:b"),
        ("disk", "\"disk\"", "write file:disk"),
        ("", "\"\"", "write file:"),
        ("rbd:pool/x", "\"rbd:\"", "there are file:, mem:, null:, lull:// and nbd://"),
        ("nbd://host/x,direct=on", "\"direct\"", "read-only and write-through"),
        ("nbd://host/x,read-only=1", "\"1\"", "on or off"),
        ("file:", "needs the path", "file:/srv/disk.img"),
        ("file:/x,sise=1G", "\"sise\"", "it takes direct="),
        ("file:/x,size=1000", "1000 bytes", "use 512 or 1024"),
        ("file:/x,size=100", "100 bytes", "use 512 or 1024"),
        ("file:/x,size=big", "\"big\"", "a size such as"),
        ("file:/x,size=1G,size=2G", "size is given twice", "remove one"),
        ("file:/x,direct=maybe", "\"maybe\"", "on or off"),
        ("file:/x,engine=aio", "\"aio\"", "auto, uring or threads"),
        ("file:/x,read-only,size=1G", "read-only and size=", "remove one"),
        ("mem:", "mem", "a size such as"),
        ("mem:0", "mem", "at least 512"),
        ("mem:9999999T", "mem", "a size"),
        ("mem:1M,direct=on", "\"direct\"", "nothing else"),
        ("faulty:delay=1:mem:1M", "\"1\"", "10ms"),
        ("faulty:delay=1ms", "faulty:", "needs a backend"),
        ("faulty:volatile:mem:1M", "volatile", "file:/srv/disk.img"),
        ("faulty:x=1:mem:1M", "\"x\"", "fail-flush="),
    ] {
        let error = text.parse::<BackendSpec>().unwrap_err().to_string();
        assert!(error.contains(names) && error.contains(next), "{text}: {error}");
    }
}

#[test]
fn what_lies_behind_a_network_is_left_to_whoever_has_one() {
    let spec = "nbd://host/x".parse().unwrap();
    assert_eq!(check(&spec).unwrap(), None);
    let Err(OpenError::Remote { why }) = open_text("faulty::nbd://host/x") else {
        panic!("opened without a network");
    };
    assert!(why.contains("nbd://host/x"), "{why}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(file|mem|null|faulty|x|nbd:/)?:?[-a-z0-9=,:+\\\\/KMGTi]{0,40}") {
        if let Ok(spec) = text.parse::<BackendSpec>() {
            proptest::prop_assert_eq!(spec.to_string().parse::<BackendSpec>(), Ok(spec));
        }
    }
}
