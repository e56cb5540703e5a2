//! Sections that only a cluster has.

use redkite_cluster::kv::etcd::EtcdSettings;
use redkite_coordinator::BalancingSettings;
use serde::{Deserialize, Serialize};

/// `etcd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Etcd {
    /// First part of all keys, so that several clusters share an etcd.
    pub root_path: String,
    /// Second part of all keys.
    pub meta_sub_path: String,
    /// How it is reached.
    #[serde(flatten)]
    pub connection: EtcdSettings,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            root_path: "by-dev".to_owned(),
            meta_sub_path: "meta".to_owned(),
            connection: EtcdSettings::default(),
        }
    }
}

impl Etcd {
    /// What all keys begin with, such as `by-dev/meta/`.
    pub(crate) fn prefix(&self) -> String {
        let parts = [&self.root_path, &self.meta_sub_path];
        let parts = parts.map(|part| part.trim_matches('/'));
        parts.into_iter().filter(|part| !part.is_empty()).map(|part| format!("{part}/")).collect()
    }
}

/// `common.session`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Session {
    /// After so many seconds of silence a process counts as dead. Shorter: a hung one is replaced sooner;
    /// longer: a slow one is not taken for dead. (A process that dies is noticed at once, by its connections.)
    pub ttl: u64,
}

impl Default for Session {
    fn default() -> Self {
        Self { ttl: 10 }
    }
}

/// `rootCoord`, `mixCoord`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Coordinator {
    /// Address to listen on, and the one others are told; empty: found out.
    pub ip: String,
    /// Port for the other roles; 0 lets the system choose.
    pub port: u16,
    /// Whether a second one may stand by. Without, it is refused.
    pub enable_active_standby: bool,
}

/// `queryCoord`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct QueryCoord {
    /// Address to listen on, and the one others are told; empty: found out.
    pub ip: String,
    /// Port for the other roles; 0 lets the system choose.
    pub port: u16,
    /// Whether a second one may stand by. Without, it is refused.
    pub enable_active_standby: bool,
    /// Balancing of query nodes. A change in the settings file acts at once.
    #[serde(flatten)]
    pub balancing: BalancingSettings,
}

impl Default for QueryCoord {
    fn default() -> Self {
        let Coordinator { ip, port, enable_active_standby } = Coordinator::on(19_531);
        Self { ip, port, enable_active_standby, balancing: BalancingSettings::default() }
    }
}

impl Coordinator {
    /// One with this port.
    pub(super) fn on(port: u16) -> Self {
        Self { ip: String::new(), port, enable_active_standby: true }
    }
}

impl Default for Coordinator {
    fn default() -> Self {
        Self::on(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_begin_as_in_milvus() {
        assert_eq!(Etcd::default().prefix(), "by-dev/meta/");
        let bare = Etcd { root_path: "/a/b/".to_owned(), meta_sub_path: String::new(), ..Etcd::default() };
        assert_eq!(bare.prefix(), "a/b/");
    }
}
