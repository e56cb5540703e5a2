//! The roles of one process, told of the others by their sessions.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use redkite_cluster::{Candidate, Session, SessionInfo, SessionSettings};
use redkite_coordinator::{
    DataCoordinator, LiveNodes, QueryCoordinator, QuerySettings, RootCoordinator, RootSettings,
};
use redkite_data_node::{DataNode, DataNodeSettings};
use redkite_proxy::{Proxy, ProxyParts};
use redkite_query_node::QueryNode;
use redkite_rpc::{Peers, PeersParts, Services, seats_at};
use redkite_runtime::{CpuPool, Tasks};
use redkite_service::{DataCoord, Error, QueryCoord, RootCoord, SeatState, Seats as _};
use redkite_streaming_node::StreamingNode;
use redkite_wal::ObjectLogs;
use tracing::{info, warn};

use super::ground::{self, Ground};
use super::nodes::{SessionAddresses, SessionNodes, query_nodes};
use super::seat::{Seat, Start, occupy};
use super::steward::Steward;
use super::tenure::Tenure;
use super::{Job, Role};
use super::{labels, lag, leave};
use crate::http::{self, Health, HealthCheck, StateCode};
use crate::ids::SharedIds;
use crate::parts;
use crate::settings::{Live, Settings};
use crate::surroundings::Surroundings;

/// How long streaming nodes may take to settle writes at the end.
const SETTLE: Duration = Duration::from_secs(5);

/// How long the active one may take to say that it lives, when there may be only one.
const ALONE: Duration = Duration::from_secs(1);

/// The roles, running.
pub(super) struct Roles {
    ground: Arc<Ground>,
    peers: Arc<Peers>,
    /// One a role, coordinators' excepted.
    sessions: Vec<(Role, Session)>,
    seats: Seats,
    candidates: Vec<Candidate>,
    streaming: Option<Arc<StreamingNode>>,
    query: Option<Arc<QueryNode>>,
    proxy: Option<Arc<Proxy>>,
    _data: Option<DataNode>,
    /// Coordinators leave first, so that what they serve is taken over while everything else still works.
    elections: Tasks,
}

/// The coordinators of this process, active or standing by.
#[derive(Clone, Default)]
struct Seats {
    root: Option<Arc<Seat<dyn RootCoord>>>,
    data: Option<Arc<Seat<dyn DataCoord>>>,
    query: Option<Arc<Seat<dyn QueryCoord>>>,
}

/// Where others find the process.
pub(super) struct Addresses {
    /// For other roles.
    pub(super) internal: String,
    /// For clients, of a proxy.
    pub(super) external: Option<String>,
}

/// What roles are made from.
struct Maker<'a> {
    settings: &'a Settings,
    live: &'a Live,
    ground: Arc<Ground>,
    peers: Arc<Peers>,
    addresses: Addresses,
    elections: Tasks,
}

impl Roles {
    /// Whoever starts them listens already, and answers with [`Roles::services`] afterwards.
    pub(super) async fn start(
        settings: &Settings,
        live: &Live,
        job: Job,
        ground: Ground,
        addresses: Addresses,
    ) -> anyhow::Result<Self> {
        let ground = Arc::new(ground);
        let peers = Arc::new(Peers::new(PeersParts {
            sessions: ground.sessions.clone(),
            metadata: ground.view.clone(),
            kv: ground.kv.clone(),
            tasks: ground.tasks.child("peers"),
            settings: ground.rpc.clone(),
            network: ground.network.clone(),
            ahead: job.roles.contains(&Role::Proxy),
        }));
        let elections = Tasks::new("elections");
        let (ground_of, peers_of) = (ground.clone(), peers.clone());
        let maker = Maker {
            settings,
            live,
            ground: ground_of,
            peers: peers_of,
            addresses,
            elections: elections.clone(),
        };
        let mut roles = Self {
            ground,
            peers,
            sessions: Vec::new(),
            seats: Seats::default(),
            candidates: Vec::new(),
            streaming: None,
            query: None,
            proxy: None,
            _data: None,
            elections,
        };
        for role in job.roles {
            roles.add(*role, &maker).await.with_context(|| role.name())?;
        }
        roles.watch_lag();
        Ok(roles)
    }

    async fn add(&mut self, role: Role, maker: &Maker<'_>) -> anyhow::Result<()> {
        if role.is_coordinator() {
            self.candidates.push(maker.coordinator(role, &mut self.seats).await?);
            return Ok(());
        }
        let mut info = maker.session(role);
        if let (Role::Proxy, Some(address)) = (role, &maker.addresses.external) {
            info.address.clone_from(address);
        }
        let session = maker.register(info).await?;
        match role {
            Role::Proxy => self.proxy = Some(Arc::new(maker.proxy())),
            Role::StreamingNode => self.streaming = Some(maker.streaming(&session)?),
            Role::QueryNode => self.query = Some(maker.query(&session)?),
            Role::DataNode => self._data = Some(maker.data()?),
            Role::RootCoord | Role::DataCoord | Role::QueryCoord => {}
        }
        self.sessions.push((role, session));
        Ok(())
    }

    /// What other roles are answered with.
    pub(super) fn services(&self) -> Services {
        Services {
            node: self.ground.node,
            shard: self.streaming.clone().map(|node| node as _),
            segments: self.query.clone().map(|node| node as _),
            root: self.seats.root.clone().map(|seat| seat as _),
            data: self.seats.data.clone().map(|seat| seat as _),
            query: self.seats.query.clone().map(|seat| seat as _),
            seats: Some(self.steward()),
        }
    }

    /// Others are answered from now on.
    pub(super) fn open(&self) {
        if let Some(streaming) = &self.streaming {
            streaming.start();
        }
    }

    /// Answers those who steer.
    fn steward(&self) -> Arc<Steward> {
        let ground = &self.ground;
        Arc::new(Steward {
            node: ground.node,
            tenures: self.seats.tenures(),
            sessions: ground.sessions.clone(),
            kv: ground.kv.clone(),
            view: ground.view.clone(),
            settings: ground.rpc.clone(),
            network: ground.network.clone(),
            tasks: ground.tasks.child("steward"),
        })
    }

    fn watch_lag(&self) {
        let (tenures, ground) = (self.seats.tenures(), &self.ground);
        if !tenures.is_empty() {
            let (kv, view) = (ground.kv.clone(), ground.view.clone());
            ground.tasks.spawn("lag", |stopping| lag::watch(kv, view, tenures, stopping));
        }
    }

    pub(super) fn proxy(&self) -> Option<Arc<Proxy>> {
        self.proxy.clone()
    }

    /// The query coordinator, whichever is active when it is called.
    pub(super) fn query(&self) -> Arc<dyn QueryCoord> {
        self.peers.query()
    }

    /// What is around this process.
    pub(super) fn surroundings(&self) -> Surroundings {
        let ground = &self.ground;
        Surroundings {
            node: ground.node,
            kv: ground.kv.clone(),
            view: ground.view.clone(),
            sessions: ground.sessions.clone(),
            query: self.query(),
        }
    }

    /// What `/healthz` tells.
    pub(super) fn health(&self) -> HealthCheck {
        let kv = self.ground.kv.clone();
        let (streaming, query, seats) = (self.streaming.clone(), self.query.clone(), self.seats.clone());
        let sessions: Vec<_> = self.sessions.iter().map(|(role, session)| (*role, session.lease())).collect();
        Arc::new(move || {
            let (kv, streaming, query) = (kv.clone(), streaming.clone(), query.clone());
            let mut report: Vec<Health> = seats.tenures().iter().map(|tenure| health_of(tenure)).collect();
            report.extend(sessions.iter().map(|(role, lease)| {
                let lost = lease.borrow().is_none().then(|| "session is being registered again".to_owned());
                Health { problems: lost.into_iter().collect(), ..Health::of(role.name()) }
            }));
            async move {
                let metastore = http::metastore_problems(&*kv).await;
                for health in &mut report {
                    health.problems.extend(metastore.iter().cloned());
                    match health.name {
                        "streamingnode" => health.problems.extend(shard_problems(streaming.as_deref())),
                        "querynode" => {
                            health
                                .problems
                                .extend(query.as_ref().map(|node| node.problems()).unwrap_or_default());
                        }
                        _ => {}
                    }
                }
                report
            }
            .boxed()
        })
    }

    /// Tells that this process is leaving, and waits until others serve what it serves.
    pub(super) async fn leave(&self, patience: Duration) {
        self.elections.stop(SETTLE).await;
        let candidates = self.candidates.iter().map(Candidate::session);
        for session in candidates.chain(self.sessions.iter().map(|(_, session)| session)) {
            let told = session.update(|info| info.stopping = true);
            match tokio::time::timeout(SETTLE, told).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(key = session.key(), %error, "others do not know that it is leaving"),
                Err(_) => warn!(key = session.key(), "others do not know that it is leaving"),
            }
        }
        if tokio::time::timeout(patience, self.nothing_left()).await.is_err() {
            warn!("stopping with things that others have not taken over");
        }
    }

    async fn nothing_left(&self) {
        let (mut records, mut sessions) = (self.ground.view.changes(), self.ground.sessions.watch());
        loop {
            let present = sessions.borrow_and_update().clone();
            let left: usize = self.ground.view.read(|metadata| {
                let of =
                    |(role, _): &(Role, Session)| leave::left(metadata, &present, *role, self.ground.node);
                self.sessions.iter().map(of).sum()
            });
            if left == 0 {
                return;
            }
            info!(left, "waiting for others to take over");
            tokio::select! {
                biased;
                () = records.any() => {}
                // Never an error: the view lives as long as its tasks.
                _ = sessions.changed() => {}
            }
        }
    }

    /// Stops everything; writes on their way are settled first.
    pub(super) async fn stop(&self) {
        if let Some(streaming) = &self.streaming
            && tokio::time::timeout(SETTLE, streaming.stop()).await.is_err()
        {
            // Nothing is lost: what was acknowledged is in the logs.
            warn!("shards did not stop in time");
        }
        let sessions = self.sessions.iter().map(|(_, session)| session);
        for session in sessions.chain(self.candidates.iter().map(Candidate::session)) {
            if let Err(error) = session.end().await {
                warn!(key = session.key(), %error, "session not ended; it ends with its lease");
            }
        }
    }
}

fn shard_problems(streaming: Option<&StreamingNode>) -> Vec<String> {
    let shards = streaming.map(StreamingNode::health).unwrap_or_default();
    shards
        .into_iter()
        .filter_map(|shard| Some(format!("shard {}: {}", shard.shard, shard.problem?)))
        .collect()
}

/// A standby is well, and so is one that takes over.
fn health_of(tenure: &Tenure) -> Health {
    let state = match tenure.state() {
        SeatState::Active => StateCode::Healthy,
        SeatState::Starting => StateCode::Initializing,
        SeatState::StandBy => StateCode::StandBy,
        SeatState::Stopping => StateCode::Stopping,
    };
    Health { name: tenure.role().name(), state, problems: tenure.hindrance().into_iter().collect() }
}

impl Seats {
    fn tenures(&self) -> Vec<Arc<Tenure>> {
        let tenures = [
            self.root.as_ref().map(|seat| seat.tenure()),
            self.data.as_ref().map(|seat| seat.tenure()),
            self.query.as_ref().map(|seat| seat.tenure()),
        ];
        tenures.into_iter().flatten().cloned().collect()
    }
}

impl Maker<'_> {
    fn session(&self, role: Role) -> SessionInfo {
        SessionInfo {
            server_id: self.ground.node.0,
            server_name: role.name().to_owned(),
            address: self.addresses.internal.clone(),
            exclusive: role.is_coordinator(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host_name: ground::host_name(),
            server_labels: labels::of(role.name(), crate::settings::environment()),
            ..SessionInfo::default()
        }
    }

    fn session_settings(&self) -> SessionSettings {
        SessionSettings { ttl: self.settings.common.session.ttl }
    }

    async fn register(&self, info: SessionInfo) -> anyhow::Result<Session> {
        let ground = &self.ground;
        Ok(Session::start(ground.kv.clone(), info, &self.session_settings(), &ground.tasks).await?)
    }

    fn proxy(&self) -> Proxy {
        let ground = &self.ground;
        Proxy::new(ProxyParts {
            metadata: ground.view.clone(),
            kv: ground.kv.clone(),
            root: self.peers.root(),
            data: self.peers.data(),
            query: self.peers.query(),
            shards: self.peers.clone(),
            nodes: Arc::new(SessionAddresses(ground.sessions.clone())),
            ids: Arc::new(SharedIds(ground.ids.clone())),
            clock: ground.hybrid.clone(),
            settings: parts::proxy(self.settings),
        })
    }

    fn streaming(&self, session: &Session) -> anyhow::Result<Arc<StreamingNode>> {
        let ground = &self.ground;
        let store = ground.store(Role::StreamingNode);
        Ok(StreamingNode::new(redkite_streaming_node::Environment {
            node: ground.node,
            settings: parts::streaming_node(self.settings),
            view: ground.view.clone(),
            kv: ground.kv.clone(),
            lease: Some(session.lease()),
            logs: ObjectLogs::new(store.clone(), self.settings.streaming_node.bucket_log.clone()),
            store,
            segments: self.peers.clone(),
            query_nodes: Some(query_nodes(&ground.sessions, &ground.tasks)),
            ids: ground.ids.clone(),
            cpu: CpuPool::new("search", parts::threads(self.settings.query_node.threads))?,
            clock: ground.clock.clone(),
            tasks: ground.tasks.child("streamingnode"),
        }))
    }

    fn query(&self, session: &Session) -> anyhow::Result<Arc<QueryNode>> {
        let ground = &self.ground;
        Ok(Arc::new(QueryNode::start(redkite_query_node::Environment {
            node: ground.node,
            settings: parts::query_node(self.settings),
            view: ground.view.clone(),
            kv: ground.kv.clone(),
            lease: Some(session.lease()),
            store: ground.store(Role::QueryNode),
            shards: self.peers.clone(),
            cpu: CpuPool::new("search", parts::threads(self.settings.query_node.threads))?,
            tasks: ground.tasks.child("querynode"),
        })))
    }

    fn data(&self) -> anyhow::Result<DataNode> {
        let ground = &self.ground;
        Ok(DataNode::start(redkite_data_node::Environment {
            node: ground.node,
            settings: DataNodeSettings::default(),
            view: ground.view.clone(),
            kv: ground.kv.clone(),
            store: ground.store(Role::DataNode),
            cpu: CpuPool::background("build", parts::threads(self.settings.data_node.threads))?,
            clock: ground.clock.clone(),
            tasks: ground.tasks.child("datanode"),
        }))
    }

    /// Stands for election; the coordinator itself starts when it is elected.
    async fn coordinator(&self, role: Role, seats: &mut Seats) -> anyhow::Result<Candidate> {
        let ground = self.ground.clone();
        if !self.may_stand_by(role) {
            self.refuse_second(role).await?;
        }
        let candidate = Candidate::start(
            ground.kv.clone(),
            self.session(role),
            &self.session_settings(),
            ground.clock.clone(),
            &ground.tasks,
        )
        .await?;
        match role {
            Role::RootCoord => {
                let start: Start<dyn RootCoord> = Arc::new(move |leadership, tasks| {
                    let environment = environment(&ground, leadership, &tasks);
                    async move { Ok(RootCoordinator::start(environment, RootSettings::default()).await? as _) }.boxed()
                });
                seats.root = Some(self.seat(role, &candidate, start));
            }
            Role::DataCoord => {
                let settings = parts::data_coord(self.settings, false);
                let start: Start<dyn DataCoord> = Arc::new(move |leadership, tasks| {
                    let environment = environment(&ground, leadership, &tasks);
                    let (store, settings) = (ground.store(Role::DataCoord), settings.clone());
                    let watched = &["streamingnode", "datanode"];
                    ground.watch_over(watched, &tasks);
                    async move { Ok(DataCoordinator::start(environment, store, settings).await? as _) }
                        .boxed()
                });
                seats.data = Some(self.seat(role, &candidate, start));
            }
            _ => {
                let balancing = self.live.balancing(self.settings, &ground.tasks);
                let peers = self.peers.clone();
                let start: Start<dyn QueryCoord> = Arc::new(move |leadership, tasks| {
                    let environment = environment(&ground, leadership, &tasks);
                    ground.watch_over(&["querynode"], &tasks);
                    let (balancing, settings) = (balancing.clone(), QuerySettings::default());
                    let (segments, shards) = (peers.clone(), peers.clone());
                    async move {
                        let start =
                            QueryCoordinator::start(environment, settings, balancing, segments, shards);
                        Ok(start.await? as _)
                    }
                    .boxed()
                });
                seats.query = Some(self.seat(role, &candidate, start));
            }
        }
        Ok(candidate)
    }

    fn seat<C: ?Sized + Send + Sync + 'static>(
        &self,
        role: Role,
        candidate: &Candidate,
        start: Start<C>,
    ) -> Arc<Seat<C>> {
        let seat = Seat::new(Tenure::new(role, self.ground.node, self.ground.clock.clone()));
        let (occupied, candidate) = (seat.clone(), candidate.clone());
        // Whoever is active, too: it hands over to nobody who is dead.
        self.ground.watch_over(candidates_of(role), &self.elections);
        self.elections.spawn("election", |stopping| occupy(occupied, candidate, start, stopping));
        seat
    }

    fn may_stand_by(&self, role: Role) -> bool {
        let settings = self.settings;
        settings.mix_coord.enable_active_standby
            && match role {
                Role::RootCoord => settings.root_coord.enable_active_standby,
                Role::DataCoord => settings.data_coord.enable_active_standby,
                _ => settings.query_coord.enable_active_standby,
            }
    }

    /// Alone means alone: refuses while another is active. One that died is buried, not waited for.
    async fn refuse_second(&self, role: Role) -> anyhow::Result<()> {
        let ground = &self.ground;
        let watching = ground.tasks.child("looks");
        ground.watch_over(candidates_of(role), &watching);
        let mut sessions = ground.sessions.watch();
        let refused = loop {
            let active = sessions.borrow_and_update().active(role.name()).cloned();
            let Some(active) = active else { break None };
            let (node, address) = (active.info.node(), &active.info.address);
            let remote = seats_at(node, address, &ground.rpc, &ground.network, &watching);
            // At our own address there is nobody but us.
            if *address == self.addresses.internal {
                break None;
            }
            let answer = tokio::time::timeout(ALONE, remote.seats()).await;
            if let Ok(Ok(_) | Err(Error::Unimplemented { .. })) = answer {
                break Some((node, address.clone()));
            }
            warn!(role = role.name(), %node, address, "waits until one that does not answer is gone");
            // Never an error: the view lives as long as its tasks.
            let _ = tokio::time::timeout(ALONE, sessions.changed()).await;
        };
        watching.cancel();
        match refused {
            None => Ok(()),
            Some((node, address)) => anyhow::bail!(
                "node {node} at {address} is the {} already, and enableActiveStandby is off",
                role.name()
            ),
        }
    }
}

/// The role alone, as a list.
fn candidates_of(role: Role) -> &'static [&'static str] {
    match role {
        Role::RootCoord => &["rootcoord"],
        Role::DataCoord => &["datacoord"],
        _ => &["querycoord"],
    }
}

fn environment(
    ground: &Ground,
    leadership: redkite_cluster::Leadership,
    tasks: &Tasks,
) -> redkite_coordinator::Environment {
    let nodes: Arc<dyn LiveNodes> = SessionNodes::start(&ground.sessions, tasks);
    redkite_coordinator::Environment {
        view: ground.view.clone(),
        kv: ground.kv.clone(),
        writer: Arc::new(leadership),
        ids: Arc::new(SharedIds(ground.ids.clone())),
        clock: ground.hybrid.clone(),
        nodes,
        tasks: tasks.clone(),
    }
}
