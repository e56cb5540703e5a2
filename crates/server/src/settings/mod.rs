//! What can be set, and where did each value come from?
//!
//! Command line beats environment beats file beats default. Keys and bare units are Milvus's where
//! the thing exists in Milvus. Only settings that act are here; a key nobody knows is reported with
//! its nearest known one.

mod check;
mod cluster;
mod live;
mod sources;

use std::path::PathBuf;
use std::time::Duration;

use redkite_rpc::RpcSettings;
use redkite_runtime::units::{Bytes, mebibytes, millis, seconds};
use redkite_storage::bucket::BucketSettings;
use redkite_wal::ObjectLogSettings;
use serde::{Deserialize, Serialize};

pub(crate) use cluster::{Coordinator, Etcd, QueryCoord, Session};
pub(crate) use live::Live;
pub(crate) use sources::{Effective, Overrides, environment, load};

/// Every setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The part clients talk to.
    pub proxy: Proxy,
    /// Health and metrics.
    pub metrics: Metrics,
    /// Where a process keeps files.
    pub local_storage: LocalStorage,
    /// The metastore of a cluster.
    pub etcd: Etcd,
    /// The bucket of a cluster.
    pub minio: BucketSettings,
    /// Settings of more than one role.
    pub common: Common,
    /// Definitions.
    pub root_coord: Coordinator,
    /// Load, release, placement and balancing.
    pub query_coord: QueryCoord,
    /// The three coordinators in one process.
    pub mix_coord: Coordinator,
    /// Life of segments.
    pub data_coord: DataCoord,
    /// Background work on data.
    pub data_node: DataNode,
    /// Searching sealed segments.
    pub query_node: QueryNode,
    /// Leading shards.
    pub streaming_node: StreamingNode,
    /// Logging.
    pub log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxy: Proxy::default(),
            metrics: Metrics::default(),
            local_storage: LocalStorage::default(),
            etcd: Etcd::default(),
            minio: BucketSettings::default(),
            common: Common::default(),
            root_coord: Coordinator::on(53_100),
            query_coord: QueryCoord::default(),
            mix_coord: Coordinator::on(53_100),
            data_coord: DataCoord::default(),
            data_node: DataNode::default(),
            query_node: QueryNode::default(),
            streaming_node: StreamingNode::default(),
            log: Log::default(),
        }
    }
}

/// `proxy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Proxy {
    /// Address to listen on.
    pub ip: String,
    /// Port of the Milvus protocol; 0 lets the system choose.
    pub port: u16,
    /// Port for the other roles; 0 lets the system choose.
    pub internal_port: u16,
    /// Limits of gRPC messages.
    pub grpc: ProxyGrpc,
}

impl Default for Proxy {
    fn default() -> Self {
        Self { ip: "0.0.0.0".to_owned(), port: 19_530, internal_port: 19_529, grpc: ProxyGrpc::default() }
    }
}

/// `proxy.grpc`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct ProxyGrpc {
    /// Largest request accepted.
    pub server_max_recv_size: Bytes,
    /// Largest answer sent.
    pub server_max_send_size: Bytes,
}

impl Default for ProxyGrpc {
    fn default() -> Self {
        Self { server_max_recv_size: Bytes(64 << 20), server_max_send_size: Bytes(256 << 20) }
    }
}

/// `metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Port of `/healthz` and `/metrics`; 0 lets the system choose.
    pub port: u16,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { port: 9091 }
    }
}

/// `localStorage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct LocalStorage {
    /// The data directory of standalone; in a cluster, where a node keeps copies of objects. For one process
    /// at a time; created if absent.
    pub path: PathBuf,
    /// Bytes that copies of objects may take; those used longest ago go first.
    pub cache_capacity: Bytes,
}

impl Default for LocalStorage {
    fn default() -> Self {
        Self { path: PathBuf::from("redkite-data"), cache_capacity: Bytes(64 << 30) }
    }
}

/// `common`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Common {
    /// How stale a read at level Bounded may be.
    #[serde(with = "millis")]
    pub graceful_time: Duration,
    /// How long a process that is told to stop waits until others have taken over what it serves.
    #[serde(with = "seconds")]
    pub graceful_stop_timeout: Duration,
    /// How long a silent process counts as alive.
    pub session: Session,
    /// Calls between processes.
    pub rpc: RpcSettings,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            graceful_time: Duration::from_secs(5),
            graceful_stop_timeout: Duration::from_secs(1800),
            session: Session::default(),
            rpc: RpcSettings::default(),
        }
    }
}

/// `dataCoord`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct DataCoord {
    /// Address to listen on, and the one others are told; empty: found out.
    pub ip: String,
    /// Port for the other roles; 0 lets the system choose.
    pub port: u16,
    /// Whether a second one may stand by.
    pub enable_active_standby: bool,
    /// Sizes of segments.
    pub segment: Segment,
    /// Removal of files nobody needs.
    pub gc: Gc,
}

impl Default for DataCoord {
    fn default() -> Self {
        let Coordinator { ip, port, enable_active_standby } = Coordinator::on(13_333);
        Self { ip, port, enable_active_standby, segment: Segment::default(), gc: Gc::default() }
    }
}

/// `dataCoord.segment`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Segment {
    /// Compaction makes no larger ones.
    #[serde(with = "mebibytes")]
    pub max_size: Bytes,
    /// A growing segment is sealed at this share of `maxSize`. Larger means fewer segments and faster
    /// searches of sealed data, but more memory and slower searches of growing data.
    pub seal_proportion: f64,
    /// A growing segment that gets no rows for so long is sealed.
    #[serde(with = "seconds")]
    pub max_idle_time: Duration,
}

impl Default for Segment {
    fn default() -> Self {
        Self { max_size: Bytes(1 << 30), seal_proportion: 0.25, max_idle_time: Duration::from_secs(600) }
    }
}

/// `dataCoord.gc`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Gc {
    /// How often files are compared with records.
    #[serde(with = "seconds")]
    pub interval: Duration,
    /// A file without a record is left alone until it is so old: its record may still be on the way.
    #[serde(with = "seconds")]
    pub missing_tolerance: Duration,
    /// Files of a dropped segment are kept so long.
    #[serde(with = "seconds")]
    pub drop_tolerance: Duration,
}

impl Default for Gc {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            missing_tolerance: Duration::from_secs(3600),
            drop_tolerance: Duration::from_secs(10),
        }
    }
}

/// `dataNode`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct DataNode {
    /// Address to listen on, and the one others are told; empty: found out.
    pub ip: String,
    /// Port for the other roles; 0 lets the system choose.
    pub port: u16,
    /// Threads for index builds and compaction; 0 means one a core.
    pub threads: usize,
}

impl Default for DataNode {
    fn default() -> Self {
        Self { ip: String::new(), port: 21_124, threads: 0 }
    }
}

/// `queryNode`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct QueryNode {
    /// Address to listen on, and the one others are told; empty: found out.
    pub ip: String,
    /// Port for the other roles; 0 lets the system choose.
    pub port: u16,
    /// Threads for searches; 0 means one a core.
    pub threads: usize,
    /// Memory that segments and searches may use: balancing weighs nodes by it. 0: all that the machine, or the
    /// control group of the process, allows.
    pub memory_limit: Bytes,
}

impl Default for QueryNode {
    fn default() -> Self {
        Self { ip: String::new(), port: 21_123, threads: 0, memory_limit: Bytes(0) }
    }
}

/// `streamingNode`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct StreamingNode {
    /// Address to listen on, and the one others are told; empty: found out.
    pub ip: String,
    /// Port for the other roles; 0 lets the system choose.
    pub port: u16,
    /// Size at which a new log file is begun. Smaller means that disk space comes back sooner.
    pub log_file_size: Bytes,
    /// Writes wait while a shard holds more growing and sealing bytes than this.
    pub max_growing_size: Bytes,
    /// Logs in a bucket.
    pub bucket_log: ObjectLogSettings,
}

impl Default for StreamingNode {
    fn default() -> Self {
        Self {
            ip: String::new(),
            port: 22_222,
            log_file_size: Bytes(64 << 20),
            max_growing_size: Bytes(1 << 30),
            bucket_log: ObjectLogSettings::default(),
        }
    }
}

/// `log`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Log {
    /// `trace`, `debug`, `info`, `warn`, `error`, or a filter such as `info,redkite_wal=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: "text".to_owned() }
    }
}
