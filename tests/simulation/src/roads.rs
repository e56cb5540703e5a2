//! The roads between processes: requests and answers that take their time, and connections that break.
//!
//! As over TCP: nobody listening refuses, a process that is paused or cut off just says nothing until pings
//! notice, and a death breaks what was connected. Of a call on a connection that breaks nobody knows what became.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redkite_rpc::network::{Broken, Road, Roads};
use redkite_rpc::{Desk, Network};
use redkite_runtime::simulation::Process;
use redkite_types::NodeId;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::trace::Trace;
use crate::weather::{Fate, Place, Weather};

/// Silence after which pings have shown that a connection is lost: `pingInterval` and `pingTimeout`.
const PINGS: Duration = Duration::from_secs(15);

/// Every road of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Map(Arc<Shared>);

struct Shared {
    weather: Arc<Weather>,
    trace: Trace,
    /// Messages on their way are nobody's.
    process: Process,
    doors: Mutex<BTreeMap<String, Door>>,
    /// Connections that were made, as long as somebody has them.
    wires: Mutex<Vec<Weak<Wire>>>,
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Map")
    }
}

/// Where a process listens.
#[derive(Clone, Debug)]
struct Door {
    place: Place,
    process: Process,
    /// Who answers, once the process is ready.
    desk: watch::Receiver<Option<Arc<Desk>>>,
}

/// An end of an open door: says who answers.
pub type Opener = watch::Sender<Option<Arc<Desk>>>;

impl Map {
    /// No roads yet.
    #[must_use]
    pub fn new(weather: &Arc<Weather>, trace: &Trace) -> Self {
        Self(Arc::new(Shared {
            weather: weather.clone(),
            trace: trace.clone(),
            process: Process::start("roads"),
            doors: Mutex::default(),
            wires: Mutex::default(),
        }))
    }

    /// The network as a process at `place` sees it.
    #[must_use]
    pub fn network(&self, place: Place) -> Network {
        Network::of(Arc::new(From { map: self.clone(), place }))
    }

    /// A process listens from now on.
    #[must_use]
    pub fn listen(&self, address: &str, place: Place, process: &Process) -> Opener {
        let (opener, desk) = watch::channel(None);
        let door = Door { place, process: process.clone(), desk };
        self.0.doors.lock().insert(address.to_owned(), door);
        opener
    }

    /// A process is gone: its address refuses, and its connections break.
    pub fn close(&self, address: &str, place: Place) {
        let mut doors = self.0.doors.lock();
        if doors.get(address).is_some_and(|door| door.place == place) {
            doors.remove(address);
        }
        drop(doors);
        let wires = {
            let mut wires = self.0.wires.lock();
            wires.retain(|wire| wire.strong_count() > 0);
            wires.clone()
        };
        let ends = |wire: &Wire| wire.from == place || wire.to.place == place;
        wires.iter().filter_map(Weak::upgrade).filter(|wire| ends(wire)).for_each(|wire| wire.lose());
    }
}

/// The roads that begin at one place.
#[derive(Debug)]
struct From {
    map: Map,
    place: Place,
}

#[async_trait]
impl Roads for From {
    async fn connect(&self, address: &str) -> io::Result<Arc<dyn Road>> {
        let shared = &self.map.0;
        sleep(shared.weather.way()).await;
        let find = || shared.doors.lock().get(address).cloned();
        if let Some(door) = find() {
            shared.weather.until_open(self.place, door.place).await;
        }
        sleep(shared.weather.way()).await;
        let door = find().ok_or(io::ErrorKind::ConnectionRefused)?;
        let wire = Arc::new(Wire {
            map: self.map.clone(),
            from: self.place,
            to: door,
            lost: watch::Sender::new(false),
        });
        shared.wires.lock().push(Arc::downgrade(&wire));
        shared.process.spawn(ping(Arc::downgrade(&wire), shared.weather.clone(), wire.from, wire.to.place));
        Ok(wire)
    }
}

/// Breaks a connection whose end has been silent for too long.
async fn ping(wire: Weak<Wire>, weather: Arc<Weather>, from: Place, to: Place) {
    let Some(mut lost) = wire.upgrade().map(|wire| wire.lost.subscribe()) else { return };
    tokio::select! {
        biased;
        // An error means that nobody has it any more.
        _ = lost.wait_for(|lost| *lost) => {}
        () = weather.until_silent_for(from, to, PINGS) => {
            if let Some(wire) = wire.upgrade() {
                wire.lose();
            }
        }
    }
}

/// A connection.
struct Wire {
    map: Map,
    from: Place,
    to: Door,
    lost: watch::Sender<bool>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({} to {})", self.from, self.to.place)
    }
}

impl Wire {
    fn lose(&self) {
        self.lost.send_replace(true);
    }

    async fn lost(&self) {
        // The sender is in `self`.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// Sends a request; where it arrives, it is answered by the callee.
    fn send(
        &self,
        fate: Fate,
        path: &'static str,
        node: Option<NodeId>,
        request: Bytes,
    ) -> oneshot::Receiver<Option<Bytes>> {
        let (mut reply, answer) = oneshot::channel();
        let (weather, trace) = (self.map.0.weather.clone(), self.map.0.trace.clone());
        let (from, to, mut lost) = (self.from, self.to.clone(), self.lost.subscribe());
        self.map.0.process.spawn(async move {
            sleep(fate.there).await;
            weather.until_open(from, to.place).await;
            if fate.request_lost || *lost.borrow() {
                return;
            }
            trace.note(format_args!("call {from} to {} {path}, {} bytes", to.place, request.len()));
            let mut desk = to.desk.clone();
            let (trace, process) = (trace, to.process.clone());
            process.spawn(async move {
                let answering = async {
                    let desk = desk.wait_for(Option::is_some).await.ok()?.clone()?;
                    Some(desk.answer(path, node, &request).await)
                };
                tokio::select! {
                    biased;
                    // Nobody waits for it any more.
                    () = reply.closed() => {}
                    Ok(_) = lost.wait_for(|lost| *lost) => {}
                    answer = answering => if let Some(answer) = answer {
                        let size = answer.as_ref().map_or(0, Bytes::len);
                        trace.note(format_args!("answer {} to {from} {path}, {size} bytes", to.place));
                        let _ = reply.send(answer);
                    }
                }
            });
        });
        answer
    }
}

#[async_trait]
impl Road for Wire {
    async fn call(&self, path: &'static str, node: Option<NodeId>, request: Bytes) -> Result<Bytes, Broken> {
        if self.is_lost() {
            return Err(Broken::Unsent);
        }
        let weather = &self.map.0.weather;
        let fate = weather.fate();
        let answer = self.send(fate, path, node, request);
        let answered = async {
            let answer = answer.await.ok()?;
            sleep(fate.back).await;
            weather.until_open(self.from, self.to.place).await;
            (!fate.answer_lost).then_some(answer)
        };
        let answer = tokio::select! {
            biased;
            answer = answered => answer,
            () = self.lost() => None,
        };
        let Some(answer) = answer else {
            // What is lost on a connection is lost with it.
            self.lose();
            return Err(Broken::Lost);
        };
        answer.ok_or(Broken::Unknown)
    }

    fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }
}
