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
use redkite_query_node::{QueryNode, QueryNodeSettings};
use redkite_rpc::{Peers, PeersParts, Services};
use redkite_runtime::{CpuPool, Tasks};
use redkite_service::{DataCoord, QueryCoord, RootCoord};
use redkite_streaming_node::StreamingNode;
use redkite_wal::ObjectLogs;
use tokio::net::TcpListener;
use tracing::{info, warn};

use super::address::Door;
use super::ground::Ground;
use super::nodes::{SessionAddresses, SessionNodes, query_nodes};
use super::seat::{Seat, Start, Watch, occupy};
use super::{Job, Role};
use super::{labels, leave};
use crate::front::announce;
use crate::http::{self, Health, HealthCheck};
use crate::ids::SharedIds;
use crate::parts;
use crate::settings::Settings;

/// How long streaming nodes may take to settle writes at the end.
const SETTLE: Duration = Duration::from_secs(5);

/// The roles, running.
pub(super) struct Roles {
    ground: Arc<Ground>,
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

/// What roles are made from.
struct Maker<'a> {
    settings: &'a Settings,
    ground: Arc<Ground>,
    peers: Arc<Peers>,
    address: String,
    elections: Tasks,
}

impl Roles {
    pub(super) async fn start(
        settings: &Settings,
        job: Job,
        ground: Ground,
        door: &Door<'_>,
        internal: TcpListener,
        external: Option<&TcpListener>,
    ) -> anyhow::Result<Self> {
        let ground = Arc::new(ground);
        let peers = Arc::new(Peers::new(PeersParts {
            sessions: ground.sessions.clone(),
            metadata: ground.view.clone(),
            kv: ground.kv.clone(),
            tasks: ground.tasks.child("peers"),
            settings: ground.rpc.clone(),
        }));
        let listening = internal.local_addr()?;
        let address = door.advertised(listening.port());
        let elections = Tasks::new("elections");
        let maker = Maker { settings, ground: ground.clone(), peers, address, elections: elections.clone() };
        let mut roles = Self {
            ground,
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
            roles.add(*role, &maker, external).await.with_context(|| role.name())?;
        }
        roles.serve(internal);
        announce("internal", listening);
        Ok(roles)
    }

    async fn add(
        &mut self,
        role: Role,
        maker: &Maker<'_>,
        external: Option<&TcpListener>,
    ) -> anyhow::Result<()> {
        if role.is_coordinator() {
            self.candidates.push(maker.coordinator(role, &mut self.seats).await?);
            return Ok(());
        }
        let mut info = maker.session(role);
        if let (Role::Proxy, Some(listener)) = (role, external) {
            info.address = maker.proxy_address(listener)?;
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

    /// Answers other roles.
    fn serve(&self, listener: TcpListener) {
        let services = Services {
            node: self.ground.node,
            shard: self.streaming.clone().map(|node| node as _),
            segments: self.query.clone().map(|node| node as _),
            root: self.seats.root.clone().map(|seat| seat as _),
            data: self.seats.data.clone().map(|seat| seat as _),
            query: self.seats.query.clone().map(|seat| seat as _),
        };
        let settings = self.ground.rpc.clone();
        self.ground
            .tasks
            .spawn("internal", |stopping| redkite_rpc::serve(listener, services, settings, stopping));
        if let Some(streaming) = &self.streaming {
            streaming.start();
        }
    }

    pub(super) fn proxy(&self) -> Option<Arc<Proxy>> {
        self.proxy.clone()
    }

    /// What `/healthz` tells.
    pub(super) fn health(&self) -> HealthCheck {
        let kv = self.ground.kv.clone();
        let (streaming, query, seats) = (self.streaming.clone(), self.query.clone(), self.seats.clone());
        let sessions: Vec<_> = self.sessions.iter().map(|(role, session)| (*role, session.lease())).collect();
        Arc::new(move || {
            let (kv, streaming, query) = (kv.clone(), streaming.clone(), query.clone());
            let mut report: Vec<Health> = seats.roles().map(|role| Health::of(role.name())).collect();
            report.extend(sessions.iter().map(|(role, lease)| {
                let lost = lease.borrow().is_none().then(|| "session is being registered again".to_owned());
                Health { name: role.name(), problems: lost.into_iter().collect() }
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
        for (role, session) in &self.sessions {
            if let Err(error) = session.update(|info| info.stopping = true).await {
                warn!(role = role.name(), %error, "others were not told that this process is leaving");
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

impl Seats {
    fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        let roles = [
            self.root.as_ref().map(|_| Role::RootCoord),
            self.data.as_ref().map(|_| Role::DataCoord),
            self.query.as_ref().map(|_| Role::QueryCoord),
        ];
        roles.into_iter().flatten()
    }
}

impl Maker<'_> {
    fn session(&self, role: Role) -> SessionInfo {
        SessionInfo {
            server_id: self.ground.node.0,
            server_name: role.name().to_owned(),
            address: self.address.clone(),
            exclusive: role.is_coordinator(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
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

    fn proxy_address(&self, listener: &TcpListener) -> anyhow::Result<String> {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        Ok(format!("{host}:{}", listener.local_addr()?.port()))
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
            settings: QueryNodeSettings::default(),
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
            self.refuse_second(role)?;
        }
        let candidate =
            Candidate::start(ground.kv.clone(), self.session(role), &self.session_settings(), &ground.tasks)
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
                let start: Start<dyn QueryCoord> = Arc::new(move |leadership, tasks| {
                    let environment = environment(&ground, leadership, &tasks);
                    ground.watch_over(&["querynode"], &tasks);
                    async move { Ok(QueryCoordinator::start(environment, QuerySettings::default()).await? as _) }
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
        let seat = Seat::new(role, self.ground.node);
        let (occupied, candidate, ground) = (seat.clone(), candidate.clone(), self.ground.clone());
        let watch: Watch = Arc::new(move |tasks| ground.watch_over(candidates_of(role), tasks));
        self.elections.spawn("election", |stopping| occupy(occupied, candidate, watch, start, stopping));
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

    fn refuse_second(&self, role: Role) -> anyhow::Result<()> {
        let sessions = self.ground.sessions.current();
        match sessions.active(role.name()) {
            None => Ok(()),
            Some(active) => anyhow::bail!(
                "node {} at {} is the {} already, and enableActiveStandby is off",
                active.info.server_id,
                active.info.address,
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
