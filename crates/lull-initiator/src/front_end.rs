//! What consumers see of an attachment: an NBD export, a mounted file, a virtual machine's disk, from the first ATTACHED to the attachment's end,
//! whatever becomes of the target in between.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use lull_admin::Access;
use lull_frontend::fuse::Channel;
use lull_frontend::nbd::{
    self, Closer, Device, Exports, Limits, Op, OpenRefused, Parted, Resumed, ServeEnd, Stage, Uri,
};
use lull_frontend::vhost_user::AskedOnce;
use lull_proto::geometry::Geometry;
use lull_proto::initiator::Ask;
use lull_transport::{Addr, Listener, Stream};
use lull_wire::{Features, OpCode, RequestFlags};
use tokio::sync::Notify;

use crate::attachment::Attachment;
use crate::block_device::Parked;
use crate::buffer::Bytes;
use crate::config::AttachmentConfig;
use crate::daemon::News;
use crate::guests::{self, Guests};
use crate::kernel_devices::Devices;
use crate::kernel_nbd::EarlyLine;
use crate::missing_place::had;
use crate::mounted::{Found, Mount, Mounted};
use crate::slots::Duty;
use crate::succession::face::{Inherited, Leaving};
use crate::unserved::Turn;

/// Consumers that may be connected to one attachment at a time; further ones wait to be accepted.
const MOST_CLIENTS: u64 = 256;
/// How long consumers may take to receive their last answers when the attachment ends.
const LINGER: Duration = Duration::from_secs(2);
/// For how long one of them may leave memory taken without a byte of progress.
const STUCK: Duration = Duration::from_secs(30);
/// How long is waited after the system refused to accept, most likely for want of descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// The front end of one attachment.
#[derive(Debug, Default)]
pub struct Face {
    closer: Closer,
    clients: Cell<u64>,
    listening: Cell<u64>,
    /// Somebody or a listener has gone. All are woken: of several listeners that wait for a place, not each has
    /// somebody to give it to.
    left: Notify,
    served: RefCell<Vec<String>>,
    /// In this host's kernel.
    devices: RefCell<Vec<PathBuf>>,
    /// The mounted file's.
    file: RefCell<Option<Rc<Channel>>>,
    grown: Rc<Notify>,
    /// Guests' requests that nobody asks again.
    asked_once: AskedOnce,
    /// What an earlier life left, until it is opened.
    pub inherited: RefCell<Inherited>,
    /// What the kernel's NBD waits on until it is opened.
    pub early_line: RefCell<Option<EarlyLine>>,
    /// Nothing that the kernel's NBD was given back is still to be asked again: by the word of the life before, where that one
    /// could say so, and once this one has parted by its own.
    pub kernel_waits_for_nothing: Cell<bool>,
    /// With the devices that an earlier life left.
    turn: Turn,
    /// What this one leaves, from its parting on.
    leaving: RefCell<Leaving>,
}

impl Face {
    /// Begins to listen.
    pub fn open(&self, attachment: &Rc<Attachment>, geometry: Geometry) {
        tokio::task::spawn_local(open(Rc::clone(attachment), geometry));
    }

    /// Takes no more requests. Those that were taken are answered, then consumers see the end of their streams.
    pub fn close(&self) {
        self.closer.close();
    }

    /// Ends when nobody is connected any more, or will not leave.
    pub async fn closed(&self) {
        let gone = async {
            while self.clients.get() > 0 || self.listening.get() > 0 {
                self.left.notified().await;
            }
        };
        let _ = tokio::time::timeout(LINGER, gone).await;
    }

    /// Consumers that are connected, or have the file open.
    pub fn clients(&self) -> u64 {
        self.clients.get() + self.file.borrow().as_ref().map_or(0, |file| file.users())
    }

    /// Where it is, in words; empty while it is not.
    pub fn served(&self) -> String {
        self.served.borrow().join(", ")
    }

    /// The devices that it has in this host's kernel.
    pub fn devices(&self) -> Vec<PathBuf> {
        self.devices.borrow().clone()
    }

    /// What closes it.
    pub fn closer(&self) -> &Closer {
        &self.closer
    }

    /// Whose turn it is with the devices that an earlier life left.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// Notified when the resource has grown.
    pub fn grown(&self) -> &Rc<Notify> {
        &self.grown
    }

    /// Guests' requests that nobody asks again.
    pub fn asked_once(&self) -> &AskedOnce {
        &self.asked_once
    }

    /// Somebody who was taken has left.
    pub fn left(&self) {
        self.clients.set(self.clients.get() - 1);
        self.left.notify_waiters();
    }

    /// The next consumer, who is counted; `None` once the face is closed, or leaves this process.
    pub async fn next_of(&self, attachment: &Attachment, listener: &Listener) -> Option<Stream> {
        let mut refused = false;
        loop {
            let accepted = match self.closer.stage() {
                Stage::Open => tokio::select! {
                    biased;
                    () = self.closer.when(|stage| stage != Stage::Open) => continue,
                    accepted = next(self, listener) => accepted,
                },
                Stage::Quiet => {
                    self.closer.when(|stage| stage != Stage::Quiet).await;
                    continue;
                }
                Stage::Parting | Stage::Closed => return None,
            };
            match accepted {
                Ok(stream) => {
                    self.clients.set(self.clients.get() + 1);
                    return Some(stream);
                }
                Err(error) => {
                    if !refused {
                        attachment.tell("accept_failed", format!("cannot take consumers: {error}"));
                    }
                    refused = true;
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    /// Whether the mounted file's users wait for nothing, and whether they would be asked again by a kernel that can.
    pub fn file_waits(&self) -> (bool, bool) {
        self.file
            .borrow()
            .as_ref()
            .map_or((false, true), |file| (!file.is_idle(), file.record().resends))
    }

    /// The kernel's end of the mounted file once more.
    ///
    /// # Errors
    /// What the system says.
    pub fn mount_end(&self) -> std::io::Result<Option<OwnedFd>> {
        self.file.borrow().as_ref().map(|file| file.to_owned_fd()).transpose()
    }

    /// The mounted file is to go on elsewhere.
    pub fn leave_mount(&self, mount: Mount) {
        self.leaving.borrow_mut().mount = Some(mount);
    }

    /// A device of ublk's is to go on, in this process or elsewhere.
    pub fn leave_block(&self, parked: Parked) {
        self.leaving.borrow_mut().block = Some(parked);
    }

    /// The kernel's connection is to go on elsewhere.
    pub fn leave_kernel(&self, connection: Option<Parted>) {
        self.leaving.borrow_mut().kernel = connection;
    }

    /// Ends a socket: it is to go on elsewhere, under this name, or its file is removed.
    pub fn end_listener(&self, name: String, listener: Listener) {
        if self.closer.stage() == Stage::Parting {
            self.leaving.borrow_mut().listeners.push((name, listener));
        } else {
            remove(&listener);
        }
    }

    /// What it leaves, once it has parted.
    pub fn leaves(&self) -> Leaving {
        self.leaving.take()
    }

    /// The kernel has come as one of the consumers, through a device.
    pub fn kernel_came(&self) {
        self.clients.set(self.clients.get() + 1);
    }

    /// It has left.
    pub fn kernel_left(&self, device: &Path) {
        self.left();
        self.devices.borrow_mut().retain(|one| one != device);
        self.one_less(&device_place(device));
    }

    /// One of the places is there no more; the others are.
    fn one_less(&self, place: &str) {
        self.listening.set(self.listening.get() - 1);
        self.served.borrow_mut().retain(|one| one != place);
        self.left.notify_waiters();
    }
}

/// Where an attachment is, or is to be, in the words of `lull status`.
pub fn named(config: &AttachmentConfig) -> String {
    let AttachmentConfig { nbd, fuse, vhost_user, nbd_device, ublk, .. } = config;
    let devices = nbd_device.clone().into_iter().chain(ublk.map(|one| one.to_string().into()));
    let devices: Vec<PathBuf> = devices.collect();
    places(nbd, fuse.as_deref(), vhost_user.as_deref(), &devices).join(", ")
}

fn places(
    nbd: &[Addr],
    fuse: Option<&Path>,
    vhost_user: Option<&Path>,
    devices: &[PathBuf],
) -> Vec<String> {
    let nbd = nbd.iter().map(nbd_place);
    let devices = devices.iter().map(|path| device_place(path));
    nbd.chain(fuse.map(file_place))
        .chain(vhost_user.map(guests::socket_name))
        .chain(devices)
        .collect()
}

fn nbd_place(addr: &Addr) -> String {
    format!("nbd {addr}")
}

fn file_place(path: &Path) -> String {
    format!("fuse {}", path.display())
}

fn device_place(path: &Path) -> String {
    format!("device {}", path.display())
}

/// The places at which consumers find an attachment, taken and not served.
struct Places {
    /// By the names that a successor finds them under.
    listeners: Vec<(String, Listener)>,
    guests: Option<Guests>,
    mounted: Option<Mounted>,
    devices: Devices,
}

impl Places {
    /// All of them, or none; those that an earlier life left are taken over, and are enough.
    async fn take(
        attachment: &Rc<Attachment>,
        geometry: Geometry,
        inherited: Inherited,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let go_on = inherited.is_some();
        let Inherited { listeners: sockets, mount, kernel, block, .. } = inherited;
        let devices = Devices::default();
        let mut places = Self { listeners: Vec::new(), guests: None, mounted: None, devices };
        let taken = places.add(attachment, sockets, mount, go_on).await;
        // The last: somebody's file system may rest on them already.
        let taken = match taken {
            Ok(()) => {
                let opened = places.devices.open(attachment, geometry, kernel, block, go_on).await;
                opened.map_err(Into::into)
            }
            error => error,
        };
        match taken {
            Ok(()) => Ok(places),
            Err(error) => {
                places.leave(attachment).await;
                Err(error)
            }
        }
    }

    fn is_none(&self) -> bool {
        let Self { listeners, guests, mounted, devices } = self;
        listeners.is_empty() && guests.is_none() && mounted.is_none() && devices.paths().is_empty()
    }

    /// Gives them up unserved.
    async fn leave(self, attachment: &Attachment) {
        self.listeners.iter().for_each(|(_, listener)| remove(listener));
        self.guests.iter().for_each(Guests::remove);
        if let Some(mounted) = self.mounted {
            mounted.drop_unused().await;
        }
        self.devices.drop_unused(attachment).await;
    }

    async fn add(
        &mut self,
        attachment: &Attachment,
        mut sockets: HashMap<String, OwnedFd>,
        mount: Option<Found>,
        go_on: bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let config = attachment.config();
        for addr in &config.nbd {
            let name = addr.to_string();
            let listener = match sockets.remove(&name) {
                Some(fd) => Listener::from_fd(addr, fd),
                None => Listener::bind(addr).await,
            };
            let listener = had(attachment, go_on, listener)?;
            self.listeners.extend(listener.map(|listener| (name, listener)));
        }
        if let Some(path) = &config.vhost_user {
            let socket = sockets.remove(&guests::socket_name(path));
            let guests = Guests::bind(path, attachment, socket).await;
            self.guests = had(attachment, go_on, guests)?;
        }
        let mounted = match (mount, &config.fuse) {
            (Some(found), _) => Mounted::take_over(found),
            (None, Some(path)) => Mounted::new(path, config.uri.to_string()).await,
            (None, None) => return Ok(()),
        };
        self.mounted = had(attachment, go_on, mounted)?;
        Ok(())
    }
}

async fn open(attachment: Rc<Attachment>, geometry: Geometry) {
    let mut inherited = attachment.face.inherited.take();
    // Whoever is connected goes on, whatever becomes of the rest.
    attachment.face.clients.set(inherited.clients.len() as u64);
    for client in std::mem::take(&mut inherited.clients) {
        tokio::task::spawn_local(go_on(Rc::clone(&attachment), client, geometry));
    }
    let _turn = attachment.face.turn().to_serve().await;
    let places = match Places::take(&attachment, geometry, inherited).await {
        Ok(places) => places,
        Err(error) => return attachment.fail(no_front_end(&*error)),
    };
    let (config, face) = (attachment.config(), &attachment.face);
    if places.is_none() && face.clients.get() == 0 {
        return attachment.fail("no front end: none of its places can be had".to_owned());
    }
    if face.closer.is_closed() {
        return places.leave(&attachment).await;
    }
    let Places { listeners, guests, mounted, devices } = places;
    let addrs = listeners.iter().filter_map(|(_, listener)| listener.local_addr().ok());
    let addrs: Vec<Addr> = addrs.collect();
    let path = mounted.as_ref().map(|mounted| mounted.path().to_owned());
    let machines = guests.as_ref().and(config.vhost_user.as_deref());
    let blocks = devices.paths();
    face.served.replace(self::places(&addrs, path.as_deref(), machines, &blocks));
    face.devices.replace(blocks.clone());
    let others = u64::from(mounted.is_some()) + u64::from(guests.is_some()) + blocks.len() as u64;
    face.listening.set(listeners.len() as u64 + others);
    for (addr, listener) in listeners {
        tokio::task::spawn_local(accept(Rc::clone(&attachment), addr, listener));
    }
    if let Some(guests) = guests {
        let attachment = Rc::clone(&attachment);
        tokio::task::spawn_local(async move {
            let place = guests::place(&attachment);
            guests.serve(&attachment, geometry).await;
            attachment.face.one_less(&place);
        });
    }
    if let Some(mounted) = mounted {
        face.file.replace(Some(mounted.channel()));
        let attachment = Rc::clone(&attachment);
        tokio::task::spawn_local(async move {
            let place = file_place(mounted.path());
            mounted.serve(&attachment, geometry).await;
            attachment.face.file.take();
            attachment.face.one_less(&place);
        });
    }
    devices.begin(&attachment, geometry);
    let export = &config.uri.resource;
    let uris = addrs.into_iter().map(|addr| Uri { addr, export: export.clone() }.to_string());
    let files = path.iter().map(PathBuf::as_path).chain(machines);
    let files = files.chain(blocks.iter().map(PathBuf::as_path));
    let uris = uris.chain(files.map(|path| path.display().to_string()));
    let text = format!(
        "attached {} as {}/{} {}, {}: {}",
        config.uri,
        attachment.node(),
        config.name,
        config.access,
        lull_admin::show_bytes(geometry.size),
        uris.collect::<Vec<_>>().join(" ")
    );
    attachment.tell("serving", text);
    // A daemon that does not listen any more is about to end.
    let _ = attachment.made.news.send(News::Serves);
}

fn no_front_end(error: &dyn std::error::Error) -> String {
    format!("no front end: {error}")
}

fn remove(listener: &Listener) {
    // Whoever binds next replaces a file that stays behind.
    let _ = listener.remove_file();
}

async fn accept(attachment: Rc<Attachment>, name: String, listener: Listener) {
    let face = &attachment.face;
    while let Some(stream) = face.next_of(&attachment, &listener).await {
        tokio::task::spawn_local(serve(Rc::clone(&attachment), stream));
    }
    let place = listener.local_addr().map(|addr| nbd_place(&addr));
    face.end_listener(name, listener);
    face.one_less(&place.unwrap_or_default());
}

async fn next(face: &Face, listener: &Listener) -> std::io::Result<Stream> {
    while face.clients.get() >= MOST_CLIENTS {
        face.left.notified().await;
    }
    listener.accept().await
}

async fn serve(attachment: Rc<Attachment>, stream: Stream) {
    let peer = stream.peer();
    let exports = Rc::new(Names { attachment: Rc::clone(&attachment) });
    let ended = nbd::serve(stream, exports, limits(), attachment.face.closer.clone()).await;
    over(&attachment, &peer, ended);
}

/// Serves a client that an earlier life served.
async fn go_on(attachment: Rc<Attachment>, client: Resumed<Bytes>, geometry: Geometry) {
    let peer = client.peer();
    let disk = Rc::new(Disk::new(&attachment, geometry));
    let ended = client.serve(disk, attachment.face.closer.clone()).await;
    over(&attachment, &peer, ended);
}

fn over(attachment: &Attachment, peer: &str, ended: Result<(), ServeEnd>) {
    let name = &attachment.config().name;
    match ended {
        Ok(()) => {}
        Err(ServeEnd::Lost(error)) => tracing::debug!("{name}: consumer {peer} is gone: {error}"),
        Err(error) => tracing::warn!("{name}: consumer {peer} was dropped: {error}"),
    }
    attachment.face.left();
}

/// What a connection may take: its memory is that of all consumers of the attachment.
pub fn limits() -> Limits {
    Limits { linger: LINGER / 2, stuck: STUCK, ..Limits::default() }
}

/// The longest piece of a request that the target takes, in bytes.
pub fn longest(geometry: &Geometry) -> u32 {
    geometry.max_length - geometry.max_length % geometry.block
}

struct Names {
    attachment: Rc<Attachment>,
}

impl Exports for Names {
    type Device = Disk;

    fn list(&self) -> Vec<String> {
        vec![self.attachment.config().uri.resource.clone()]
    }

    async fn open(&self, name: &str) -> Result<Rc<Disk>, OpenRefused> {
        let config = self.attachment.config();
        let resource = &config.uri.resource;
        if !name.is_empty() && name != resource && name != config.name {
            return Err(OpenRefused::Unknown(format!("no `{name}` here: this is `{resource}`")));
        }
        let Some(geometry) = self.attachment.core.borrow().geometry else {
            return Err(OpenRefused::Shutdown(format!("`{resource}` is not attached yet")));
        };
        Ok(Rc::new(Disk { attachment: Rc::clone(&self.attachment), geometry }))
    }
}

/// The attachment as one consumer uses it.
pub struct Disk {
    attachment: Rc<Attachment>,
    geometry: Geometry,
}

impl Disk {
    /// As it was told when it came.
    pub fn new(attachment: &Rc<Attachment>, geometry: Geometry) -> Self {
        Self { attachment: Rc::clone(attachment), geometry }
    }
}

impl Device for Disk {
    type Buffer = Bytes;

    fn geometry(&self) -> nbd::Geometry {
        let Geometry { block, preferred, features, .. } = self.geometry;
        // It may have grown since this consumer came.
        let size =
            self.attachment.core.borrow().geometry.map_or(self.geometry.size, |now| now.size);
        let config = self.attachment.config();
        nbd::Geometry {
            size,
            block,
            preferred,
            max_length: longest(&self.geometry),
            read_only: self.attachment.access(Some(self.geometry)) == Access::Ro,
            discard: features.has(Features::DISCARD),
            write_zeroes: features.has(Features::WRITE_ZEROES),
            // [CONN-7] Advice: a target that has none, or not any more, is made up for.
            fast_zeroes: features.has(Features::WRITE_ZEROES),
            cache: true,
            extents: true,
            // All consumers go through one session: a flush covers whatever was answered on any connection.
            multi_conn: true,
            description: config.uri.to_string(),
        }
    }

    fn buffer(&self, length: u32) -> Option<Bytes> {
        self.attachment.pool().take(length as usize).map(Bytes)
    }

    fn footprint(&self, buffer: &Bytes) -> usize {
        buffer.0.footprint()
    }

    async fn buffer_freed(&self) {
        self.attachment.pool().freed().await;
    }

    fn waiting(&self) -> usize {
        self.attachment.pool().waiting()
    }

    fn submit(
        &self,
        op: Op,
        offset: u64,
        length: u64,
        buffer: Option<Bytes>,
        reply: nbd::Reply<Bytes>,
    ) {
        let durable = |fua| if fua { RequestFlags::FUA } else { RequestFlags::none() };
        let (op, flags) = match op {
            Op::Read => (OpCode::Read, RequestFlags::none()),
            Op::Write { fua } => (OpCode::Write, durable(fua)),
            Op::Flush => (OpCode::Flush, RequestFlags::none()),
            Op::Discard => (OpCode::Discard, RequestFlags::none()),
            Op::WriteZeroes { fua, keep_allocated, fast } => {
                let flags = durable(fua).with_if(keep_allocated, RequestFlags::KEEP_ALLOCATED);
                (OpCode::WriteZeroes, flags.with_if(fast, RequestFlags::FAST))
            }
            Op::Extents => (OpCode::Extents, RequestFlags::none()),
            Op::Cache => (OpCode::ReadAhead, RequestFlags::none()),
        };
        // What carries no data may be longer than the longest request: it is asked for piece by piece. A list of
        // extents may end early: whoever wants the rest asks again.
        let asks = op == OpCode::Extents;
        let most =
            if asks { u32::MAX - u32::MAX % self.geometry.block } else { longest(&self.geometry) };
        let first = u32::try_from(length).map_or(most, |length| length.min(most));
        let rest = if asks { 0 } else { length - u64::from(first) };
        let ask = Ask { op, flags, offset, length: first };
        self.attachment.submit(ask, rest, buffer, Duty::Consumer(reply));
    }
}
