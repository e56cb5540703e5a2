//! Where do others find this process?

use std::net::{IpAddr, UdpSocket};

use super::{Job, Role};
use crate::settings::Settings;

/// Where the process listens for other roles.
pub(super) struct Door<'a> {
    ip: &'a str,
    port: u16,
    settings: &'a Settings,
}

impl<'a> Door<'a> {
    /// As the section of the role says; of several roles, the first one's.
    pub(super) fn of(settings: &'a Settings, job: Job) -> Self {
        let (ip, port) = match job.roles {
            [Role::RootCoord] => (&settings.root_coord.ip, settings.root_coord.port),
            [Role::DataCoord] => (&settings.data_coord.ip, settings.data_coord.port),
            [Role::QueryCoord] => (&settings.query_coord.ip, settings.query_coord.port),
            // A proxy is not called by other roles; only its life is watched.
            [Role::Proxy] => (&settings.proxy.ip, settings.proxy.internal_port),
            [Role::StreamingNode] => (&settings.streaming_node.ip, settings.streaming_node.port),
            [Role::QueryNode] => (&settings.query_node.ip, settings.query_node.port),
            [Role::DataNode] => (&settings.data_node.ip, settings.data_node.port),
            _ => (&settings.mix_coord.ip, settings.mix_coord.port),
        };
        Self { ip, port, settings }
    }

    /// Where to listen: names are told to others, but not listened on, as they may be those of a load balancer.
    pub(super) fn ip(&self) -> &'a str {
        if self.ip.parse::<IpAddr>().is_ok() { self.ip } else { "0.0.0.0" }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What others are told, with the port that is listened on.
    pub(super) fn advertised(&self, port: u16) -> String {
        let any = self.ip.is_empty() || self.ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        let host = if any { self.own_ip().to_string() } else { self.ip.to_owned() };
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The address that etcd sees this machine under.
    fn own_ip(&self) -> IpAddr {
        let endpoints = &self.settings.etcd.connection.endpoints;
        let seen = endpoints.iter().find_map(|endpoint| {
            let target = endpoint.rsplit_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
            let target = target.trim_end_matches('/');
            let target = if target.contains(':') { target.to_owned() } else { format!("{target}:2379") };
            // Nothing is sent: the system only chooses the way.
            ["0.0.0.0:0", "[::]:0"].into_iter().find_map(|any| {
                let socket = UdpSocket::bind(any).ok()?;
                socket.connect(&target).ok()?;
                Some(socket.local_addr().ok()?.ip())
            })
        });
        seen.unwrap_or(IpAddr::from([127, 0, 0, 1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_and_an_address_is_listened_on() {
        let mut settings = Settings::default();
        settings.etcd.connection.endpoints = vec!["127.0.0.1:2379".to_owned()];
        let job = Job { name: "querynode", roles: &[Role::QueryNode] };
        assert_eq!(Door::of(&settings, job).advertised(5), "127.0.0.1:5");
        settings.query_node.ip = "nodes.example".to_owned();
        let door = Door::of(&settings, job);
        assert_eq!((door.advertised(5).as_str(), door.ip()), ("nodes.example:5", "0.0.0.0"));
        settings.query_node.ip = "::1".to_owned();
        let door = Door::of(&settings, job);
        assert_eq!((door.advertised(5).as_str(), door.ip()), ("[::1]:5", "::1"));
    }
}
