//! A target made of a few lines: one memory disk, one session, and a script of misbehaviour.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use lull_transport::{Addr, Inlet, Listener, Outlet, ReadHalf, Stream};
use lull_wire::messages::{
    Attach, Attached, Connect, Detached, Disconnect, Name, Path as Nodes, Pause, PauseComplete,
    Ping, Pong, Prose, Refused, Reply, Request, Resume, Welcome,
};
use lull_wire::{
    AttachmentId, Digest, DisconnectCode, Epoch, Features, FrameHeader, HEADER_LENGTH, Incarnation,
    InstanceId, Kind, List, Message, OLDEST_VERSION, OpCode, RefusalCode, RequestNumber,
    ResourceId, RestartId, Retry, Sender, StatusCode, Tenure, VERSION,
};
use tokio::sync::mpsc;

/// Bytes of the disk.
pub const SIZE: usize = 1 << 20;
/// The longest request that it takes.
pub const LONGEST: u32 = 64 << 10;

/// What the script says, and what has happened.
#[derive(Debug)]
pub struct Script {
    pub disk: Vec<u8>,
    pub incarnation: u8,
    /// Cut the connection after so many more messages of either side.
    pub cut_after: Option<u64>,
    /// Refuse every ATTACH with this.
    pub refuse: Option<(RefusalCode, Retry, &'static str)>,
    /// Take ATTACH and say nothing to it.
    pub hold_attach: bool,
    /// Read requests and answer none.
    pub mute: bool,
    /// Read everything and say nothing.
    pub frozen: bool,
    /// Take so long for each request, and say PING so often.
    pub dawdles: Option<(Duration, u64)>,
    /// Answer DETACH with this DISCONNECT, once.
    pub goes_at_detach: Option<DisconnectCode>,
    /// Answer writes with this.
    pub status: StatusCode,
    /// Send this instead of WELCOME.
    pub greet_with: Option<&'static [u8]>,
    /// Spoil the digest of the next read's payload.
    pub spoil: bool,
    pub attaches: Vec<Attach>,
    pub connections: u64,
    pub requests: u64,
    pub longest_seen: u32,
    epoch: Epoch,
    /// The newest session; older ones are fenced.
    session: u64,
}

/// What a session tells the test.
#[derive(Debug)]
pub enum News {
    Ready,
    Complete(PauseComplete),
    Detached,
    /// A request came that is not answered, since the script says so.
    Unanswered,
    Stall,
}

/// The target: its script, its news, and where it listens.
pub struct Target {
    pub script: Rc<RefCell<Script>>,
    pub news: mpsc::UnboundedReceiver<News>,
    tell: mpsc::UnboundedSender<News>,
    outlet: Rc<RefCell<Option<Outlet<Vec<u8>>>>>,
    path: PathBuf,
    listening: Option<tokio::task::JoinHandle<()>>,
    sessions: Rc<RefCell<Vec<tokio::task::AbortHandle>>>,
}

impl Target {
    /// A target that is not there yet.
    pub fn new(dir: &Path) -> Self {
        let (tell, news) = mpsc::unbounded_channel();
        let script = Script {
            disk: vec![0; SIZE],
            incarnation: 0xc1,
            cut_after: None,
            refuse: None,
            hold_attach: false,
            mute: false,
            frozen: false,
            dawdles: None,
            goes_at_detach: None,
            status: StatusCode::Done,
            greet_with: None,
            spoil: false,
            attaches: Vec::new(),
            connections: 0,
            requests: 0,
            longest_seen: 0,
            epoch: Epoch(0),
            session: 0,
        };
        Self {
            script: Rc::new(RefCell::new(script)),
            news,
            tell,
            outlet: Rc::default(),
            path: dir.join("target.sock"),
            listening: None,
            sessions: Rc::default(),
        }
    }

    pub fn addr(&self) -> Addr {
        Addr::Unix(self.path.clone())
    }

    /// Begins to listen.
    pub async fn listen(&mut self) {
        let listener = Listener::bind(&self.addr()).await.unwrap();
        let (script, tell) = (Rc::clone(&self.script), self.tell.clone());
        let (outlet, sessions) = (Rc::clone(&self.outlet), Rc::clone(&self.sessions));
        let task = tokio::task::spawn_local(async move {
            while let Ok(stream) = listener.accept().await {
                let (script, tell) = (Rc::clone(&script), tell.clone());
                script.borrow_mut().connections += 1;
                let session = session(script, tell, Rc::clone(&outlet), stream);
                let session = tokio::task::spawn_local(session).abort_handle();
                sessions.borrow_mut().push(session);
            }
        });
        self.listening = Some(task);
    }

    /// Accepts nobody; who is connected stays so.
    pub async fn stops_listening(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _ = listening.await;
        }
    }

    /// Is gone, as if killed: sockets end, and it comes back as another incarnation.
    pub async fn vanish(&mut self) {
        self.stops_listening().await;
        self.outlet.borrow_mut().take();
        self.sessions.borrow_mut().drain(..).for_each(|session| session.abort());
        let mut script = self.script.borrow_mut();
        script.session += 1;
        script.incarnation += 1;
    }

    /// Says something on the present session.
    pub fn send(&self, message: impl Into<Message>) {
        let outlet = self.outlet.borrow();
        say(outlet.as_ref().expect("a session"), &message.into());
    }

    pub fn pause(&self, restart: u64) {
        self.send(Pause {
            restart: RestartId(restart),
            span_ms: 30_000,
            downtime_ms: 100,
            reason: Prose::clipped("new kernel"),
        });
    }

    pub fn resume(&self, restart: u64) {
        self.send(Resume { restart: RestartId(restart) });
    }

    pub fn disconnect(&self, restart: u64, code: DisconnectCode) {
        self.send(down(restart, code));
        self.outlet.borrow().as_ref().expect("a session").finish();
    }

    /// Answers a request of the present session that the script has left unanswered; a read with its data.
    pub fn answer(&self, number: u64, data: Vec<u8>) {
        let incarnation = Incarnation([self.script.borrow().incarnation; 16]);
        let (number, status) = (RequestNumber(number), StatusCode::Done);
        let mut frame = Vec::new();
        Reply { number, status, incarnation }.encode(Digest::of(&data), &mut frame);
        self.outlet.borrow().as_ref().expect("a session").push_frame(&frame, data);
    }

    /// The next news; the test fails where there are none for long.
    pub async fn next(&mut self) -> News {
        let news = tokio::time::timeout(Duration::from_secs(20), self.news.recv()).await;
        news.expect("the target waits in vain").expect("the sender is here")
    }

    /// Waits until a session is ready.
    pub async fn ready(&mut self) {
        while !matches!(self.next().await, News::Ready) {}
    }

    /// Waits for PAUSE COMPLETE.
    pub async fn complete(&mut self) -> PauseComplete {
        loop {
            if let News::Complete(complete) = self.next().await {
                return complete;
            }
        }
    }
}

fn down(restart: u64, code: DisconnectCode) -> Disconnect {
    Disconnect {
        restart: RestartId(restart),
        code,
        downtime_ms: 100,
        resource: Name::default(),
        where_to: List::default(),
        detail: Prose::clipped("new kernel"),
    }
}

fn say(outlet: &Outlet<Vec<u8>>, message: &Message) {
    let mut frame = Vec::new();
    message.encode(Digest::NONE, &mut frame);
    outlet.push_bytes(&frame);
}

type Present = Rc<RefCell<Option<Outlet<Vec<u8>>>>>;

async fn session(
    script: Rc<RefCell<Script>>,
    tell: mpsc::UnboundedSender<News>,
    present: Present,
    stream: Stream,
) {
    let (r, mut w) = stream.into_split();
    let outlet = Outlet::new();
    let mut session = Session { script, tell, present, outlet: outlet.clone(), number: 0 };
    tokio::select! {
        _ = session.serve(r) => {}
        _ = outlet.pump(&mut w) => {}
    }
}

struct Session {
    script: Rc<RefCell<Script>>,
    tell: mpsc::UnboundedSender<News>,
    present: Present,
    outlet: Outlet<Vec<u8>>,
    number: u64,
}

impl Session {
    async fn serve(&mut self, mut r: ReadHalf) -> io::Result<()> {
        let mut inlet = Inlet::with_capacity(256 * 1024);
        loop {
            let header = loop {
                match FrameHeader::read(inlet.bytes(), Sender::Initiator).expect("a good frame") {
                    Some(header) if inlet.bytes().len() >= header.length() => break header,
                    Some(_) | None => {
                        if inlet.fill(&mut r).await? == 0 {
                            return Ok(());
                        }
                    }
                }
            };
            let body = inlet.bytes()[HEADER_LENGTH..header.length()].to_vec();
            header.check_body(&body).unwrap();
            inlet.consume(header.length());
            let dawdles = self.script.borrow().dawdles;
            if let Some((long, pings)) = dawdles.filter(|_| header.kind == Kind::Request) {
                tokio::time::sleep(long).await;
                (0..pings).for_each(|token| say(&self.outlet, &Ping { token }.into()));
            }
            let mut payload = vec![0; header.payload.length as usize];
            inlet.read_exact_into(&mut r, &mut payload).await?;
            header.payload.check(&payload).unwrap();
            if self.cut() {
                return Ok(());
            }
            if self.script.borrow().frozen {
                continue;
            }
            match header.kind {
                Kind::Request => self.request(Request::decode(&body).unwrap(), &payload)?,
                kind => self.message(Message::decode(kind, &body).unwrap())?,
            }
        }
    }

    /// Counts a message; whether the connection is to be cut here.
    fn cut(&mut self) -> bool {
        let mut script = self.script.borrow_mut();
        let Some(left) = &mut script.cut_after else { return false };
        *left = left.saturating_sub(1);
        if *left == 0 {
            script.cut_after = None;
            script.session += 1;
            drop(script);
            self.outlet.abort();
            return true;
        }
        false
    }

    fn say(&mut self, message: impl Into<Message>) -> io::Result<()> {
        if self.cut() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        say(&self.outlet, &message.into());
        Ok(())
    }

    fn message(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Hello(hello) => {
                assert_eq!((hello.min_version, hello.max_version), (OLDEST_VERSION, VERSION));
                let garbage = self.script.borrow().greet_with;
                if let Some(garbage) = garbage {
                    self.outlet.push_bytes(garbage);
                    return Ok(());
                }
                self.say(Welcome {
                    version: VERSION,
                    instance: InstanceId([0xe1; 16]),
                    node: Name::clipped("store"),
                    software: Name::clipped("script"),
                    // Its death is found as soon as the attachment wants it to be, whatever it says itself.
                    keep_alive_ms: 3_600_000,
                })?;
                self.say(Connect { restart: RestartId(0), barrier_ms: 0 })
            }
            Message::Attach(attach) => self.attach(*attach),
            Message::Ready(_) => {
                self.say(Resume { restart: RestartId(0) })?;
                let _ = self.tell.send(News::Ready);
                Ok(())
            }
            Message::PauseComplete(complete) => {
                let _ = self.tell.send(News::Complete(*complete));
                Ok(())
            }
            Message::Detach(_) => {
                let epoch = self.script.borrow().epoch;
                let goes = self.script.borrow_mut().goes_at_detach.take();
                match goes {
                    Some(code) => self.say(down(7, code))?,
                    None => self.say(Detached { epoch })?,
                }
                let _ = self.tell.send(News::Detached);
                Ok(())
            }
            Message::Ping(ping) => self.say(Pong { token: ping.token }),
            Message::Stall(_) => {
                let _ = self.tell.send(News::Stall);
                Ok(())
            }
            Message::PauseProgress(_) | Message::Pong(_) => Ok(()),
            other => panic!("{} from an initiator", other.kind()),
        }
    }

    fn attach(&mut self, attach: Attach) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        assert_ne!(attach.attachment, AttachmentId::NONE);
        assert!(attach.epoch > script.epoch, "[SAFE-5] a higher epoch each time");
        script.epoch = attach.epoch;
        script.session += 1;
        self.number = script.session;
        script.attaches.push(attach);
        if script.hold_attach {
            let _ = self.tell.send(News::Unanswered);
            return Ok(());
        }
        let refuse = script.refuse;
        let (epoch, incarnation) = (script.epoch, Incarnation([script.incarnation; 16]));
        drop(script);
        if let Some((code, retry, detail)) = refuse {
            let detail = Prose::clipped(detail);
            let (epoch, tenure) = (Epoch(0), Tenure(0));
            return self.say(Refused { code, retry, retry_after_ms: 0, epoch, tenure, detail });
        }
        *self.present.borrow_mut() = Some(self.outlet.clone());
        self.say(Attached {
            epoch,
            identity: ResourceId([0xd1; 16]),
            incarnation,
            tenure: Tenure(1),
            size: SIZE as u64,
            block: 512,
            preferred: 4096,
            max_length: LONGEST,
            features: Features::DISCARD.with(Features::WRITE_ZEROES).with(Features::EXTENTS),
            path: Nodes::default(),
        })
    }

    fn request(&mut self, request: Request, payload: &[u8]) -> io::Result<()> {
        let mut script = self.script.borrow_mut();
        if self.number != script.session {
            return Err(io::ErrorKind::ConnectionAborted.into()); // Fenced.
        }
        script.requests += 1;
        script.longest_seen = script.longest_seen.max(request.length);
        if script.mute {
            let _ = self.tell.send(News::Unanswered);
            return Ok(());
        }
        let range = request.offset as usize..request.offset as usize + request.length as usize;
        let (mut data, mut status) = (Vec::new(), StatusCode::Done);
        match request.op {
            OpCode::Read => data = script.disk[range].to_vec(),
            _ if script.status != StatusCode::Done => status = script.status,
            OpCode::Write => script.disk[range].copy_from_slice(payload),
            OpCode::WriteZeroes | OpCode::Discard => script.disk[range].fill(0),
            OpCode::Flush => {}
            OpCode::ReadAhead => {}
            OpCode::Extents | OpCode::Unknown(_) => {
                panic!("{} is none that it answers", request.op)
            }
        }
        let incarnation = Incarnation([script.incarnation; 16]);
        let mut digest = Digest::of(&data);
        if script.spoil && !data.is_empty() {
            script.spoil = false;
            digest.crc ^= 1;
        }
        drop(script);
        if self.cut() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mut frame = Vec::new();
        Reply { number: request.number, status, incarnation }.encode(digest, &mut frame);
        self.outlet.push_frame(&frame, data);
        Ok(())
    }
}
