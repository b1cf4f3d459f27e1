//! An attachment as the disk of a virtual machine.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use lull_admin::Access;
use lull_frontend::nbd::Stage;
use lull_frontend::vhost_user::{self, Identity, SERIAL, ServeEnd, Told};
use lull_proto::geometry::Geometry;
use lull_transport::{Addr, BindError, Listener, Stream};
use lull_wire::ResourceId;

use crate::attachment::Attachment;
use crate::front_end::Disk;

/// How long a machine that comes waits for the one before it to go. Two at a time would be two writers who know nothing of
/// each other; whoever means that has two attachments that share.
const CHANGE: Duration = Duration::from_secs(1);

/// The socket of an attachment, not served yet.
#[derive(Debug)]
pub struct Guests {
    listener: Listener,
    identity: Identity,
}

impl Guests {
    /// Listens for a machine's monitor, on the socket of the process before where there is one.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn bind(
        path: &Path,
        attachment: &Attachment,
        inherited: Option<OwnedFd>,
    ) -> Result<Self, BindError> {
        let addr = Addr::Unix(path.to_owned());
        let listener = match inherited {
            Some(fd) => Listener::from_fd(&addr, fd)?,
            None => Listener::bind(&addr).await?,
        };
        // Where an earlier life was attached its guests come before this one is.
        let known = attachment.core.borrow().remembered.unwrap_or(attachment.made.kept.memory);
        let serial = serial(known.identity);
        let grown = Rc::clone(attachment.face.grown());
        // [SAFE-11] As for every consumer of an earlier life: others may have written the same since.
        let asks_once = attachment.config().access == Access::RwShared;
        let asked_once = attachment.face.asked_once().clone();
        let identity = Identity { serial, asks_once, grown, asked_once, ..Identity::default() };
        Ok(Self { listener, identity })
    }

    /// Takes it away.
    pub fn remove(&self) {
        // Whoever binds next replaces a file that stays behind.
        let _ = self.listener.remove_file();
    }

    /// Serves one machine after the other until the face closes.
    pub async fn serve(self, attachment: &Rc<Attachment>, geometry: Geometry) {
        let face = &attachment.face;
        let mut present: Option<tokio::task::JoinHandle<()>> = None;
        while let Some(stream) = face.next_of(attachment, &self.listener).await {
            if let Some(served) = &mut present
                && tokio::time::timeout(CHANGE, served).await.is_err()
            {
                let text = format!(
                    "another machine ({}) wants the disk that one has: give it an attachment of its own",
                    stream.peer()
                );
                attachment.tell("guest_refused", text);
                face.left();
                continue;
            }
            let (attachment, identity) = (Rc::clone(attachment), self.identity.clone());
            present = Some(tokio::task::spawn_local(async move {
                guest(&attachment, geometry, identity, stream).await;
                attachment.face.left();
            }));
        }
        face.end_listener(place(attachment), self.listener);
        if let Some(served) = present {
            // Its end says nothing that was not told.
            let _ = served.await;
        }
    }
}

/// Where an attachment's guests come.
pub fn place(attachment: &Attachment) -> String {
    attachment.config().vhost_user.as_deref().map(socket_name).unwrap_or_default()
}

/// What its socket is called, to people and when it goes to another process.
pub fn socket_name(path: &Path) -> String {
    format!("vhost-user {}", path.display())
}

async fn guest(
    attachment: &Rc<Attachment>,
    geometry: Geometry,
    identity: Identity,
    stream: Stream,
) {
    let peer = stream.peer();
    let disk = Rc::new(Disk::new(attachment, geometry));
    let closer = attachment.face.closer().clone();
    let about = Rc::clone(attachment);
    let told = move |told: Told| match told {
        Told::Recovered { queue, requests } => {
            let text = format!(
                "{requests} requests of queue {queue} were in flight: they are asked again"
            );
            about.tell("guest_recovered", text);
        }
        Told::Stops { queue, requests, within } => {
            let text = format!(
                "queue {queue} is to be stopped: its monitor waits for {requests} requests that nobody would ask again, \
                 at most {} s",
                within.as_secs()
            );
            about.tell("guest_stops", text);
        }
        Told::GivenUp { queue, requests } => {
            let text = format!(
                "queue {queue} is stopped: {requests} requests were not answered in time, and the guest is told that they \
                 failed"
            );
            about.tell("guest_given_up", text);
        }
        Told::Broken { queue, fault } => {
            let text = format!("queue {queue} is served no more until its guest is reset: {fault}");
            about.tell("guest_broken", text);
        }
    };
    let name = &attachment.config().name;
    let parting = closer.clone();
    let served = tokio::select! {
        served = vhost_user::serve(stream, disk, identity, closer, told) => served,
        // [INIT-1] As if this process had been killed: the monitor comes to the next one, with what was in flight.
        () = parting.when(|stage| stage == Stage::Parting) => Ok(()),
    };
    match served {
        Ok(()) => {}
        Err(ServeEnd::Closed | ServeEnd::Lost(_)) => {
            tracing::debug!("{name}: guest {peer} is gone")
        }
        Err(error) => tracing::warn!("{name}: guest {peer} was dropped: {error}"),
    }
}

/// The first half of the resource's identity and a little more, as it is written everywhere.
fn serial(identity: ResourceId) -> [u8; SERIAL] {
    let mut serial = [0; SERIAL];
    serial.iter_mut().zip(identity.to_string().bytes()).for_each(|(to, from)| *to = from);
    serial
}
