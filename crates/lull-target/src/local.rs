//! One thread's share of the data path: its connections, from the first byte to the last, and what the machine's
//! thread asks of them.

use crate::agentless::{self, Shelf};
use crate::connection::{Connection, Ended};
use crate::daemon::{Input, Shared};
use crate::gauge::{Gauge, Watch};
use crate::lane::Terms;
use crate::threads::Berth;
use lull_block::{Buffer, Pool};
use lull_frontend::nbd::{self, Closer};
use lull_proto::ConnId;
use lull_proto::target::ResourceIndex;
use lull_transport::{Outlet, Socket};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long the last messages may take to leave before the thread ends.
const FAREWELL: Duration = Duration::from_millis(250);
/// Turns of the runtime before a thread says that it has read what was there: one to see which sockets have something,
/// one for their readers, and as many again for what a first piece brought.
pub const TURNS_TO_READ: usize = 8;
/// Connections that were hung up and may still have something to say, before they are looked through.
const LEAVING: usize = 64;

/// What can be asked of a thread. What concerns one connection is done in the order in which it was asked.
pub enum Command {
    /// This connection of an initiator is the thread's from now on.
    Serve { conn: ConnId, socket: Socket, gauge: Arc<Gauge>, berth: Berth },
    /// So is this one of a client without an agent.
    ServeNbd { socket: Socket, berth: Berth },
    /// Send a frame.
    Send { conn: ConnId, frame: Vec<u8> },
    /// Requests may be executed from now on, before what follows is sent.
    Open { conn: ConnId, resource: ResourceIndex, terms: Terms },
    /// No further request is executed; [`Input::Drained`] follows.
    Close { conn: ConnId },
    /// Close the connection once what was sent is written.
    HangUp { conn: ConnId },
    /// Nothing more will be asked about this connection.
    Forget { conn: ConnId },
    /// Clients without an agent are let go once what they asked is answered.
    LetAgentlessGo,
    /// Read what is there, then say so.
    Read { done: oneshot::Sender<()> },
    /// Let the last messages leave, and end.
    End,
}

/// What lives on one thread.
pub struct Local {
    /// The thread's number; 0 is the machine's own.
    pub number: usize,
    /// The resources.
    pub shared: Arc<[Shared]>,
    /// Memory for the payloads of this thread's requests.
    pub pool: Pool,
    /// When it answered last.
    pub watch: Arc<Watch>,
    control: mpsc::UnboundedSender<Input>,
    connections: RefCell<BTreeMap<ConnId, Connection>>,
    /// What still leaves on connections that are hung up.
    leaving: RefCell<Vec<Outlet<Buffer>>>,
    /// Lets this thread's clients without an agent go.
    pub closer: Closer,
}

impl Local {
    pub fn new(
        number: usize,
        shared: Arc<[Shared]>,
        pool: Pool,
        watch: Arc<Watch>,
        control: mpsc::UnboundedSender<Input>,
    ) -> Rc<Self> {
        Rc::new(Self {
            number,
            shared,
            pool,
            watch,
            control,
            connections: RefCell::default(),
            leaving: RefCell::default(),
            closer: Closer::new(),
        })
    }

    /// Does what is asked until the end.
    pub async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Read { done } => {
                    for _ in 0..TURNS_TO_READ {
                        tokio::task::yield_now().await;
                    }
                    // Who asked may have waited for long enough.
                    let _ = done.send(());
                }
                Command::End => return self.farewell().await,
                other => self.obey(other),
            }
        }
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Serve { conn, socket, gauge, berth } => self.serve(conn, socket, gauge, berth),
            Command::ServeNbd { socket, berth } => self.serve_nbd(socket, berth),
            Command::Send { conn, frame } => self.with(conn, |one| one.outlet.push_bytes(&frame)),
            Command::Open { conn, resource, terms } => {
                self.with(conn, |one| one.open(self, conn, resource, terms));
            }
            Command::Close { conn } => {
                let known = self.connections.borrow().get(&conn).map(Connection::close);
                if known.unwrap_or(true) {
                    self.tell(Input::Drained { conn });
                }
            }
            Command::HangUp { conn } => self.with(conn, |one| {
                one.hang_up();
                self.see_off(&one.outlet);
            }),
            Command::Forget { conn } => {
                self.connections.borrow_mut().remove(&conn);
            }
            Command::LetAgentlessGo => self.closer.close(),
            Command::Read { .. } | Command::End => unreachable!("they are waited for in `run`"),
        }
    }

    /// Tells the machine's thread.
    pub fn tell(&self, input: Input) {
        // It ends after this thread, or by an error that nobody can be told any more.
        let _ = self.control.send(input);
    }

    /// The way to the machine's thread, for what outlives a turn.
    pub fn control(&self) -> mpsc::UnboundedSender<Input> {
        self.control.clone()
    }

    fn with(&self, conn: ConnId, work: impl FnOnce(&Connection)) {
        if let Some(connection) = self.connections.borrow().get(&conn) {
            work(connection);
        }
    }

    fn serve(self: &Rc<Self>, conn: ConnId, socket: Socket, gauge: Arc<Gauge>, berth: Berth) {
        match socket.into_stream() {
            Ok(stream) => {
                let connection = Connection::start(self, conn, stream, gauge, berth);
                self.connections.borrow_mut().insert(conn, connection);
            }
            Err(error) => self.tell(Input::Lost { conn, ended: Ended::Broken(error) }),
        }
    }

    fn serve_nbd(self: &Rc<Self>, socket: Socket, berth: Berth) {
        let stream = match socket.into_stream() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!("an NBD connection was lost: {error}"),
        };
        let peer = stream.peer();
        let shelf = Rc::new(Shelf::new(Rc::clone(self), peer.clone()));
        let closer = self.closer.clone();
        tokio::task::spawn_local(async move {
            let _berth = berth;
            if let Err(ended) = nbd::serve(stream, shelf, agentless::limits(), closer).await {
                tracing::info!("NBD client {peer}: {ended}");
            }
        });
    }

    /// Only a thread that ends waits for it, and most have nothing to say by then.
    fn see_off(&self, outlet: &Outlet<Buffer>) {
        let mut leaving = self.leaving.borrow_mut();
        if leaving.len() == leaving.capacity().max(LEAVING) {
            leaving.retain(|outlet| outlet.queued() > 0);
        }
        leaving.push(outlet.clone());
    }

    /// Lets the last messages leave.
    async fn farewell(&self) {
        let leaving = self.leaving.take();
        let all = async {
            for outlet in leaving {
                outlet.below(1).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}
