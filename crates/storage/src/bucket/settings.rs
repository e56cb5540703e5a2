//! Which bucket, with whose keys, and how patiently?

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redkite_runtime::units;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// The bucket that holds logs and segments. Milvus: `minio.*`, environment `MINIO_ADDRESS`,
/// `MINIO_ACCESS_KEY_ID`, `MINIO_SECRET_ACCESS_KEY`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BucketSettings {
    /// Host of the S3 service, or `host:port`, which then decides. Milvus: `minio.address`.
    pub address: String,
    /// Port of the S3 service. Milvus: `minio.port`.
    #[serde(deserialize_with = "port")]
    pub port: u16,
    /// Milvus: `minio.accessKeyID`.
    #[serde(rename = "accessKeyID", deserialize_with = "text")]
    pub access_key_id: String,
    /// Never printed. Milvus: `minio.secretAccessKey`.
    #[serde(deserialize_with = "text")]
    pub secret_access_key: String,
    /// Whether to speak TLS. Milvus: `minio.useSSL`.
    #[serde(rename = "useSSL")]
    pub use_ssl: bool,
    /// TLS details. Milvus: `minio.ssl.*`.
    pub ssl: TlsSettings,
    /// Name of the bucket. Milvus: `minio.bucketName`.
    #[serde(deserialize_with = "text")]
    pub bucket_name: String,
    /// Prefix of all keys, so that several clusters share a bucket. Milvus: `minio.rootPath`.
    #[serde(deserialize_with = "text")]
    pub root_path: String,
    /// Takes credentials from the machine's role instead of keys. Milvus: `minio.useIAM`.
    #[serde(rename = "useIAM")]
    pub use_iam: bool,
    /// Where the machine's role is asked for; empty: AWS's own address. Milvus: `minio.iamEndpoint`.
    #[serde(deserialize_with = "text")]
    pub iam_endpoint: String,
    /// Region that requests are signed for; empty: `us-east-1`. Milvus: `minio.region`.
    #[serde(deserialize_with = "text")]
    pub region: String,
    /// Whether the bucket's name goes before the host's instead of into the path.
    /// Milvus: `minio.useVirtualHost`.
    pub use_virtual_host: bool,
    /// Makes the bucket at start if it is absent, as Milvus always does.
    pub create_bucket: bool,
    /// Longest time for one request and its answer; a bare number counts milliseconds. Longer bears a slower
    /// bucket, shorter notices a dead connection sooner. Milvus: `minio.requestTimeoutMs`.
    #[serde(rename = "requestTimeoutMs", with = "units::millis")]
    pub request_timeout: Duration,
    /// How long a failed request is tried again before the caller hears of it.
    #[serde(with = "units::seconds")]
    pub retry_timeout: Duration,
    /// Most names asked for at once when listing; 0: as many as the service gives.
    /// Milvus: `minio.listObjectsMaxKeys`.
    pub list_objects_max_keys: usize,
}

/// TLS to the bucket. Milvus: `minio.ssl.*`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsSettings {
    /// PEM file with the authority that signed the service's certificate; none: the system's.
    /// Milvus: `minio.ssl.tlsCACert`.
    #[serde(rename = "tlsCACert")]
    pub ca_certificate: Option<PathBuf>,
}

/// The copies of objects that a node keeps on its own disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CacheSettings {
    /// Directory of the copies; for one process at a time.
    pub path: PathBuf,
    /// Bytes that copies may take; those used longest ago go first. Copies that are in use stay, also beyond.
    pub capacity: units::Bytes,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self {
            address: "localhost".to_owned(),
            port: 9000,
            access_key_id: "minioadmin".to_owned(),
            secret_access_key: "minioadmin".to_owned(),
            use_ssl: false,
            ssl: TlsSettings::default(),
            bucket_name: "a-bucket".to_owned(),
            root_path: "files".to_owned(),
            use_iam: false,
            iam_endpoint: String::new(),
            region: String::new(),
            use_virtual_host: false,
            create_bucket: true,
            request_timeout: Duration::from_secs(10),
            retry_timeout: Duration::from_secs(30),
            list_objects_max_keys: 0,
        }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { path: PathBuf::from("redkite-cache"), capacity: units::Bytes(64 << 30) }
    }
}

impl BucketSettings {
    /// Address of the service as a URL, without the bucket.
    ///
    /// # Errors
    /// [`Error::Settings`] if there is no address, or it has a scheme that contradicts `useSSL`.
    pub fn endpoint(&self) -> Result<String> {
        let scheme = if self.use_ssl { "https" } else { "http" };
        let host = match self.address.trim().split_once("://") {
            Some((given, host)) if given == scheme => host,
            Some(_) => return Err(self.wrong("minio.address", "its scheme contradicts minio.useSSL")),
            None => self.address.trim(),
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            return Err(self.wrong("minio.address", "must be a host, or host:port"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(if has_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{}", self.port) })
    }

    /// Where requests for the bucket go.
    pub(crate) fn bucket_endpoint(&self) -> Result<String> {
        let endpoint = self.endpoint()?;
        let (scheme, host) = endpoint.split_once("://").expect("made with a scheme");
        Ok(if self.use_virtual_host { format!("{scheme}://{}.{host}", self.bucket_name) } else { endpoint })
    }

    /// The root path without slashes at its ends.
    pub(crate) fn root(&self) -> &str {
        self.root_path.trim_matches('/')
    }

    pub(crate) fn wrong(&self, key: &'static str, problem: &str) -> Error {
        Error::Settings { key, problem: problem.to_owned() }
    }
}

/// Settings are printed and logged: the secret is not.
impl fmt::Debug for BucketSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketSettings")
            .field("address", &self.address)
            .field("port", &self.port)
            .field("access_key_id", &self.access_key_id)
            .field("use_ssl", &self.use_ssl)
            .field("bucket_name", &self.bucket_name)
            .field("root_path", &self.root_path)
            .field("use_iam", &self.use_iam)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// What a `milvus.yaml` leaves empty is empty text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Whole(i64),
    }
    Ok(match Option::<Scalar>::deserialize(deserializer)? {
        None => String::new(),
        Some(Scalar::Text(text)) => text,
        // A key made of digits.
        Some(Scalar::Whole(number)) => number.to_string(),
    })
}

/// A port as a number, or as text from the environment.
fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Port {
        Number(u16),
        Text(String),
    }
    match Port::deserialize(deserializer)? {
        Port::Number(port) => Ok(port),
        Port::Text(text) => text.trim().parse().map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> BucketSettings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_address_may_carry_its_port() {
        let endpoint = |json: &str| settings(json).endpoint().map_err(|error| error.to_string());
        assert_eq!(endpoint("{}").unwrap(), "http://localhost:9000");
        assert_eq!(endpoint(r#"{"address":"s3:81","port":9000}"#).unwrap(), "http://s3:81");
        assert_eq!(endpoint(r#"{"address":"s3","port":"443","useSSL":true}"#).unwrap(), "https://s3:443");
        assert_eq!(endpoint(r#"{"address":"http://s3/"}"#).unwrap(), "http://s3:9000");
        assert_eq!(endpoint(r#"{"address":"[::1]:9000"}"#).unwrap(), "http://[::1]:9000");
        assert!(endpoint(r#"{"address":"https://s3"}"#).unwrap_err().contains("useSSL"));
        assert!(endpoint(r#"{"address":""}"#).unwrap_err().contains("minio.address"));
        let virtual_host = settings(r#"{"useVirtualHost":true,"bucketName":"b"}"#);
        assert_eq!(virtual_host.bucket_endpoint().unwrap(), "http://b.localhost:9000");
    }

    #[test]
    fn a_milvus_file_is_understood_and_the_secret_not_shown() {
        let read = settings(
            r#"{"address":"minio","accessKeyID":"me","secretAccessKey":"hush-hush","region":null,
                "ssl":{"tlsCACert":null,"tlsMinVersion":"default"},"requestTimeoutMs":2500,
                "rootPath":"/a/b/","bucketName":"data"}"#,
        );
        assert_eq!((read.access_key_id.as_str(), read.region.as_str(), read.root()), ("me", "", "a/b"));
        assert_eq!(read.request_timeout, Duration::from_millis(2500));
        assert!(!format!("{read:?}").contains("hush"));
    }
}
