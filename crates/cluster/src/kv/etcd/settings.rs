//! How is etcd reached? The `etcd` section, with Milvus's names.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redkite_runtime::units::millis;
use serde::{Deserialize, Deserializer, Serialize};

use crate::kv::KvError;

/// etcd closes connections that are pinged more often than every 5 s.
const SHORTEST_PING: Duration = Duration::from_secs(6);
const DEFAULT_PORT: u16 = 2379;

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EtcdSettings {
    /// The members, `host:port` with or without scheme; in a file also as one text with commas. Any
    /// of them will do: calls go to one until it fails, then to the next.
    #[serde(with = "list_as_text")]
    pub endpoints: Vec<String>,
    /// How long a call may take, all tries together. Longer than an election of etcd's own (some
    /// seconds) and shorter than who waits for the answer is ready to wait. Bare numbers: milliseconds.
    #[serde(with = "millis")]
    pub request_timeout: Duration,
    /// How long connecting to one member may take. Bare numbers: milliseconds.
    #[serde(with = "millis")]
    pub dial_timeout: Duration,
    /// Pause between pings on a connection in use, which find out that the other side is gone. Less
    /// than 6 s counts as 6 s: etcd takes more frequent pings for an attack. Bare numbers: milliseconds.
    #[serde(with = "millis")]
    pub dial_keep_alive_time: Duration,
    /// How long a ping may stay unanswered. Bare numbers: milliseconds.
    #[serde(with = "millis")]
    pub dial_keep_alive_timeout: Duration,
    /// Encryption.
    pub ssl: EtcdSsl,
    /// User and password.
    pub auth: EtcdAuth,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self {
            endpoints: vec![format!("localhost:{DEFAULT_PORT}")],
            request_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(5),
            dial_keep_alive_time: SHORTEST_PING,
            dial_keep_alive_timeout: Duration::from_secs(2),
            ssl: EtcdSsl::default(),
            auth: EtcdAuth::default(),
        }
    }
}

/// `etcd.ssl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EtcdSsl {
    /// Whether connections are encrypted.
    pub enabled: bool,
    /// PEM file with our certificate, if etcd asks for one.
    pub tls_cert: PathBuf,
    /// PEM file with the key of our certificate.
    pub tls_key: PathBuf,
    /// PEM file with the authorities that may vouch for etcd; empty: those the system trusts.
    #[serde(rename = "tlsCACert")]
    pub tls_ca_cert: PathBuf,
    /// Oldest version of TLS taken. Versions before 1.2 are never taken.
    pub tls_min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum TlsVersion {
    /// 1.2, also where 1.0 or 1.1 is allowed.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// 1.3.
    #[serde(rename = "1.3")]
    V13,
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Without quotes, YAML takes it for a number.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Version {
            Number(f64),
            Text(String),
        }
        let text = match Version::deserialize(deserializer)? {
            Version::Number(number) => format!("{number:?}"),
            Version::Text(text) => text,
        };
        match text.as_str() {
            "" | "1.0" | "1.1" | "1.2" => Ok(Self::V12),
            "1.3" => Ok(Self::V13),
            other => Err(serde::de::Error::custom(format!("{other:?} is none of 1.0, 1.1, 1.2, 1.3"))),
        }
    }
}

/// `etcd.auth`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EtcdAuth {
    /// Whether to log in. Where etcd itself asks for no login, user and password are not used.
    pub enabled: bool,
    /// The user.
    pub user_name: String,
    /// The password. Written out in the clear by serde: who shows settings must hide it.
    pub password: String,
}

impl fmt::Debug for EtcdAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdAuth")
            .field("enabled", &self.enabled)
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

/// Written as one text with commas; read also from a list.
mod list_as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Endpoints {
        Text(String),
        List(Vec<String>),
    }

    pub(super) fn serialize<S: Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&list.join(","))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        let texts = match Endpoints::deserialize(deserializer)? {
            Endpoints::Text(text) => vec![text],
            Endpoints::List(list) => list,
        };
        let parts = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        Ok(parts.filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }
}

/// Where a member listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl EtcdSettings {
    /// The members.
    pub(super) fn addresses(&self) -> Result<Vec<Address>, KvError> {
        if self.endpoints.is_empty() {
            return Err(bad("endpoints: none is given".to_owned()));
        }
        self.endpoints.iter().map(|endpoint| self.address(endpoint)).collect()
    }

    fn address(&self, endpoint: &str) -> Result<Address, KvError> {
        let wrong = |why: &str| bad(format!("endpoints: {endpoint:?}: {why}"));
        let rest = match endpoint.split_once("://") {
            None => endpoint,
            Some(("http", rest)) if !self.ssl.enabled => rest,
            Some(("https", rest)) if self.ssl.enabled => rest,
            Some(("http", _)) => return Err(wrong("http, but etcd.ssl is enabled")),
            Some(("https", _)) => return Err(wrong("https, but etcd.ssl is not enabled")),
            Some(_) => return Err(wrong("neither http nor https")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let uri: tonic::transport::Uri =
            format!("http://{rest}").parse().map_err(|_| wrong("not host:port"))?;
        let named = uri.host().unwrap_or_default();
        let port = uri.port_u16();
        let whole = port.map_or_else(|| named.to_owned(), |port| format!("{named}:{port}"));
        // Anything else in it would be ignored.
        if named.is_empty() || whole != rest {
            return Err(wrong("not host:port"));
        }
        Ok(Address { host: named.trim_matches(['[', ']']).to_owned(), port: port.unwrap_or(DEFAULT_PORT) })
    }

    /// How often to ping.
    pub(super) fn ping_interval(&self) -> Duration {
        self.dial_keep_alive_time.max(SHORTEST_PING)
    }
}

pub(super) fn bad(detail: String) -> KvError {
    KvError::Settings { section: "etcd", detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> EtcdSettings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn milvus_names_and_units() {
        let settings = parse(
            r#"{"endpoints": "a:1, http://[::1]:2/,c", "requestTimeout": 1500, "dialKeepAliveTime": 3000,
                "ssl": {"tlsCACert": "/ca.pem", "tlsMinVersion": 1.3},
                "auth": {"enabled": true, "userName": "u", "password": "secret"}}"#,
        );
        let addresses: Vec<_> = settings.addresses().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["a:1", "[::1]:2", "c:2379"]);
        assert_eq!(settings.request_timeout, Duration::from_millis(1500));
        assert_eq!(settings.ping_interval(), SHORTEST_PING);
        assert_eq!(settings.ssl.tls_min_version, TlsVersion::V13);
        assert_eq!(settings.ssl.tls_ca_cert, PathBuf::from("/ca.pem"));
        assert!(!format!("{settings:?}").contains("secret"));
        let written = serde_json::to_value(&settings).unwrap();
        assert_eq!(written["endpoints"], "a:1,http://[::1]:2/,c");
        assert_eq!(serde_json::from_value::<EtcdSettings>(written).unwrap(), settings);
        assert_eq!(parse(r#"{"endpoints": ["a:1", "b:2"]}"#).endpoints, ["a:1", "b:2"]);
        assert_eq!(parse("{}"), EtcdSettings::default());
    }

    #[test]
    fn unusable_endpoints_are_named() {
        for endpoint in ["", ":1", "https://a:1", "ftp://a:1", "a:b", "a:1/path", "user@a:1", "a:99999"] {
            let settings = EtcdSettings { endpoints: vec![endpoint.to_owned()], ..EtcdSettings::default() };
            let error = settings.addresses().unwrap_err().to_string();
            assert!(error.contains(&format!("{endpoint:?}")), "{error}");
        }
        let none = EtcdSettings { endpoints: Vec::new(), ..EtcdSettings::default() };
        assert!(none.addresses().unwrap_err().to_string().contains("endpoints"));
        let mut encrypted = EtcdSettings { endpoints: vec!["http://a:1".to_owned()], ..none };
        encrypted.ssl.enabled = true;
        assert!(encrypted.addresses().unwrap_err().to_string().contains("ssl"));
    }
}
