//! The processes of a cluster: started, killed, paused, told to stop, started again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redkite_runtime::Clock;
use redkite_runtime::simulation::Process;
use redkite_server::simulated::{self, Surroundings};
use redkite_service::{BalanceAnswer, BalanceCommand};
use redkite_tests::client::Client;
use redkite_types::NodeId;
use tokio::time::{Instant, sleep, timeout};

use crate::bucket::Bucket;
use crate::channel::Channel;
use crate::etcd::Etcd;
use crate::roads::{Map, Opener};
use crate::shape::Shape;
use crate::trace::Trace;
use crate::wall::WallClock;
use crate::weather::{Place, Weather};

/// How often it is looked whether a process has ended by itself.
const LOOK: Duration = Duration::from_millis(500);

/// How long the query coordinator may take to do what it is asked for.
const ORDER: Duration = Duration::from_secs(30);

/// A cluster.
pub struct Cluster {
    /// What it is made of.
    pub shape: Shape,
    /// The network.
    pub weather: Arc<Weather>,
    /// What happens.
    pub trace: Trace,
    /// The metastore.
    pub etcd: Arc<Etcd>,
    /// The objects.
    pub bucket: Arc<Bucket>,
    map: Map,
    began: Instant,
    machines: Mutex<Vec<Machine>>,
    places: Mutex<u32>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Where a process of a role runs, at most one at a time.
#[derive(Clone, Debug)]
struct Machine {
    job: &'static str,
    /// Milliseconds that its clock is ahead.
    ahead: u64,
    /// How often a process was started here.
    starts: u32,
    run: Option<Arc<Run>>,
    /// Whether it is to run.
    wanted: bool,
}

/// One run of a process.
#[derive(Debug)]
pub struct Run {
    /// Its role.
    pub job: &'static str,
    /// Where it is in the network.
    pub place: Place,
    address: String,
    process: Process,
    /// Once it has started.
    started: Mutex<Option<Arc<simulated::Process>>>,
}

/// The number of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineId(usize);

impl Cluster {
    /// Lays out a cluster; nothing runs yet.
    ///
    /// # Errors
    /// If there is no place for temporary files.
    pub fn lay_out(shape: Shape, seed: u64, trace: &Trace) -> anyhow::Result<Arc<Self>> {
        let began = Instant::now();
        let weather = Weather::fine(seed);
        let clock: Arc<dyn Clock> = Arc::new(WallClock::new(began, 0));
        let machine = |(job, ahead)| Machine { job, ahead, starts: 0, run: None, wanted: false };
        let machines = shape.machines.iter().copied().map(machine).collect();
        Ok(Arc::new(Self {
            etcd: Etcd::start(&weather, trace),
            bucket: Bucket::start(&clock, &weather, trace)?,
            map: Map::new(&weather, trace),
            trace: trace.clone(),
            weather,
            shape,
            began,
            machines: Mutex::new(machines),
            places: Mutex::new(0),
        }))
    }

    /// Every machine.
    #[must_use]
    pub fn machines(&self) -> Vec<MachineId> {
        (0..self.machines.lock().len()).map(MachineId).collect()
    }

    /// Adds a machine.
    pub fn add(&self, job: &'static str) -> MachineId {
        let mut machines = self.machines.lock();
        machines.push(Machine { job, ahead: 0, starts: 0, run: None, wanted: false });
        MachineId(machines.len() - 1)
    }

    /// What is to run on a machine.
    #[must_use]
    pub fn job(&self, MachineId(id): MachineId) -> &'static str {
        self.machines.lock()[id].job
    }

    /// What runs on a machine.
    #[must_use]
    pub fn run(&self, MachineId(id): MachineId) -> Option<Arc<Run>> {
        self.machines.lock()[id].run.clone()
    }

    /// What runs on all machines.
    #[must_use]
    pub fn runs(&self) -> Vec<Arc<Run>> {
        self.machines.lock().iter().filter_map(|machine| machine.run.clone()).collect()
    }

    /// Starts a process on a machine where none runs.
    pub fn start(&self, MachineId(id): MachineId) {
        let place = {
            let mut places = self.places.lock();
            *places += 1;
            Place::process(*places)
        };
        let mut machines = self.machines.lock();
        let machine = &mut machines[id];
        machine.wanted = true;
        if machine.run.is_some() {
            return;
        }
        machine.starts += 1;
        // Every second start has another port: who comes back at the same address is noticed in another way.
        let address = format!("machine-{id}:{}", 1000 + machine.starts / 2);
        let process = Process::start(&format!("{}-{id}.{}", machine.job, machine.starts));
        self.trace.note(format_args!("{place} is {} at {address}", process.name()));
        let opener = self.map.listen(&address, place, &process);
        let run = Arc::new(Run { job: machine.job, place, address, process, started: Mutex::default() });
        let surroundings = Surroundings {
            kv: self.etcd.client(place),
            store: self.bucket.client(place),
            clock: Arc::new(WallClock::new(self.began, machine.ahead)),
            network: self.map.network(place),
            address: run.address.clone(),
            settings: self.shape.settings.clone(),
        };
        run.process.spawn(live(run.clone(), surroundings, opener, self.trace.clone()));
        machine.run = Some(run);
    }

    /// `kill -9`, and nobody starts it again.
    pub fn kill(&self, MachineId(id): MachineId) {
        let run = {
            let mut machines = self.machines.lock();
            machines[id].wanted = false;
            machines[id].run.take()
        };
        if let Some(run) = run {
            self.trace.note(format_args!("{} killed", run.place));
            self.bury(&run);
        }
    }

    fn bury(&self, run: &Arc<Run>) {
        run.process.kill();
        self.weather.silence(run.place, false);
        self.map.close(&run.address, run.place);
        let started = run.started.lock().take();
        run.process.enter(|| drop(started));
    }

    /// SIGSTOP.
    pub fn pause(&self, machine: MachineId) {
        if let Some(run) = self.run(machine) {
            self.trace.note(format_args!("{} paused", run.place));
            run.process.pause();
            self.weather.silence(run.place, true);
        }
    }

    /// SIGCONT.
    pub fn resume(&self, machine: MachineId) {
        if let Some(run) = self.run(machine) {
            self.trace.note(format_args!("{} resumed", run.place));
            self.weather.silence(run.place, false);
            run.process.resume();
        }
    }

    /// SIGTERM; the process ends when it has left, or is killed when the patience ends.
    pub async fn stop(&self, machine: MachineId, patience: Duration) {
        let Some(run) = self.run(machine) else { return };
        self.machines.lock()[machine.0].wanted = false;
        self.trace.note(format_args!("{} told to stop", run.place));
        let started = run.started.lock().clone();
        if let Some(started) = started {
            let (done, stopped) = tokio::sync::oneshot::channel();
            run.process.spawn(async move {
                started.stop().await;
                let _ = done.send(());
            });
            // An error means that it was killed.
            let left = timeout(patience, stopped).await.is_ok();
            self.trace.note(format_args!("{} has {}", run.place, if left { "left" } else { "to be killed" }));
        }
        let same = self.run(machine).is_some_and(|now| Arc::ptr_eq(&now, &run));
        if same {
            self.kill(machine);
        }
    }

    /// Starts everything again that ended by itself, as an orchestrator does. Ends never.
    pub async fn tend(&self) {
        loop {
            sleep(LOOK).await;
            for machine in self.machines() {
                let Some(run) = self.run(machine).filter(|run| run.process.is_dead()) else { continue };
                self.trace.note(format_args!("{} ended by itself", run.place));
                self.bury(&run);
                let wanted = {
                    let mut machines = self.machines.lock();
                    machines[machine.0].run = None;
                    machines[machine.0].wanted
                };
                if wanted {
                    self.start(machine);
                }
            }
        }
    }

    /// Clients of all proxies that run, by the place of the proxy.
    #[must_use]
    pub fn clients(&self) -> Vec<(Place, Client<Channel>)> {
        let client = |run: Arc<Run>| {
            let proxy = run.started.lock().as_ref()?.proxy()?;
            Some((run.place, Client::over(Channel::new(run.process.clone(), proxy))))
        };
        self.runs().into_iter().filter_map(client).collect()
    }

    /// Asks something of the query coordinator, by way of some process. `None` if it is not carried out in time, as
    /// far as is known.
    pub async fn order(&self, command: &BalanceCommand) -> Option<BalanceAnswer> {
        let run = self.runs().into_iter().find(|run| run.started.lock().is_some() && !run.is_paused())?;
        let query = run.started.lock().as_ref()?.query();
        let (reply, answer) = tokio::sync::oneshot::channel();
        let asked = command.clone();
        run.process.spawn(async move {
            // Who asked may have given up.
            let _ = reply.send(query.balance(asked).await);
        });
        let answer = timeout(ORDER, answer).await.ok()?.ok()?;
        self.trace.note(format_args!("{command:?}: {answer:?}"));
        answer.ok()
    }

    /// Ends everything.
    pub fn end(&self) {
        self.machines().into_iter().for_each(|machine| self.kill(machine));
        self.bucket.end();
    }
}

impl Run {
    /// Its id in the cluster, once it has started.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.started.lock().as_ref().map(|started| started.node())
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.process.is_paused()
    }
}

/// The main function of a process.
async fn live(run: Arc<Run>, surroundings: Surroundings, opener: Opener, trace: Trace) {
    match simulated::Process::start(run.job, surroundings).await {
        Ok(started) => {
            trace.note(format_args!("{} is node {}", run.place, started.node()));
            opener.send_replace(Some(Arc::new(started.open())));
            *run.started.lock() = Some(Arc::new(started));
            // The door is open as long as this task lives.
            std::future::pending::<()>().await;
        }
        Err(error) => {
            trace.note(format_args!("{} did not start: {error:#}", run.place));
            run.process.kill();
        }
    }
}
