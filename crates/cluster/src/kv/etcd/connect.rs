//! When is a connection to a member made, and when is it given up?
//!
//! A connection is dialled by the first call that needs it, and shared. It never dials again by itself:
//! once it is lost, calls on it fail saying that they were not sent, and the next dials. So it is
//! known of every failed call whether it may have reached etcd. Watches have a connection of their own: one
//! that is read slowly cannot hold up calls.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OnceCell};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tonic::transport::{Channel, Endpoint};

use super::settings::{Address, EtcdSettings, EtcdSsl, TlsVersion, bad};
use crate::kv::KvError;

/// What a watch may send ahead of its reader.
const STREAM_WINDOW: u32 = 1 << 20;
/// Room for many slow watches on one connection.
const CONNECTION_WINDOW: u32 = 64 << 20;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One member of the etcd cluster.
pub(super) struct Member {
    /// `host:port`, for messages.
    pub(super) name: Arc<str>,
    address: Address,
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    dial_timeout: Duration,
    calls: Slot,
    watches: Slot,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    Calls,
    Watches,
}

#[derive(Default)]
struct Slot {
    live: Mutex<Option<Connection>>,
    dialled: AtomicU64,
}

/// A connection that was made; perhaps lost since.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    /// Whether this member's word on progress is good, once that was asked.
    pub(super) in_step: Arc<OnceCell<bool>>,
    id: u64,
}

impl Member {
    /// The members of the settings, not connected yet.
    pub(super) fn all(settings: &EtcdSettings) -> Result<Vec<Arc<Self>>, KvError> {
        let tls = if settings.ssl.enabled { Some(tls_connector(&settings.ssl)?) } else { None };
        let member = |address: Address| {
            let name: Arc<str> = address.to_string().into();
            // The scheme is what calls say inside; encryption is a matter of the connection below.
            let endpoint = Endpoint::from_shared(format!("http://{name}"))
                .map_err(|error| bad(format!("endpoints: {name}: {error}")))?
                .user_agent("redkite")
                .map_err(|error| bad(error.to_string()))?
                .http2_keep_alive_interval(settings.ping_interval())
                .keep_alive_timeout(settings.dial_keep_alive_timeout)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            let tls = match &tls {
                None => None,
                Some(tls) => {
                    let host = ServerName::try_from(address.host.clone())
                        .map_err(|error| bad(format!("endpoints: {name}: {error}")))?;
                    Some((tls.clone(), host))
                }
            };
            Ok(Arc::new(Self {
                name,
                address,
                endpoint,
                tls,
                dial_timeout: settings.dial_timeout,
                calls: Slot::default(),
                watches: Slot::default(),
            }))
        };
        settings.addresses()?.into_iter().map(member).collect()
    }

    fn slot(&self, purpose: Use) -> &Slot {
        match purpose {
            Use::Calls => &self.calls,
            Use::Watches => &self.watches,
        }
    }

    /// The connection, dialled if there is none; says why there is none.
    pub(super) async fn connection(&self, purpose: Use) -> Result<Connection, String> {
        let slot = self.slot(purpose);
        let connecting = async {
            let mut live = slot.live.lock().await;
            if let Some(connection) = &*live {
                return Ok(connection.clone());
            }
            let channel = self.dial().await.map_err(|error| describe(&*error))?;
            let id = slot.dialled.fetch_add(1, Ordering::Relaxed);
            let connection = Connection { channel, in_step: Arc::default(), id };
            *live = Some(connection.clone());
            Ok(connection)
        };
        match tokio::time::timeout(self.dial_timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("no connection within {:?}", self.dial_timeout)),
        }
    }

    /// Gives up a connection that failed, unless that has been done.
    pub(super) async fn drop_connection(&self, purpose: Use, failed: &Connection) {
        let mut live = self.slot(purpose).live.lock().await;
        if live.as_ref().is_some_and(|live| live.id == failed.id) {
            *live = None;
        }
    }

    async fn dial(&self) -> Result<Channel, Box<dyn std::error::Error + Send + Sync>> {
        let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port)).await?;
        tcp.set_nodelay(true)?;
        let io: Box<dyn Io> = match &self.tls {
            None => Box::new(tcp),
            Some((tls, host)) => Box::new(tls.connect(host.clone(), tcp).await?),
        };
        let mut io = Some(TokioIo::new(io));
        let once = tower::service_fn(move |_| {
            let io = io.take();
            async move { io.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "connection lost")) }
        });
        Ok(self.endpoint.connect_with_connector(once).await?)
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Member").field(&self.name).finish()
    }
}

/// The innermost cause: what the layers above it add says nothing to who reads it.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn tls_connector(ssl: &EtcdSsl) -> Result<TlsConnector, KvError> {
    let mut roots = RootCertStore::empty();
    if ssl.tls_ca_cert.as_os_str().is_empty() {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(bad("ssl.tlsCACert: not given, and the system trusts no authority".to_owned()));
        }
    } else {
        for certificate in certificates(&ssl.tls_ca_cert, "ssl.tlsCACert")? {
            let added = roots.add(certificate);
            added.map_err(|error| unreadable(&ssl.tls_ca_cert, "ssl.tlsCACert", &error))?;
        }
    }
    let versions = match ssl.tls_min_version {
        TlsVersion::V12 => rustls::ALL_VERSIONS,
        TlsVersion::V13 => &[&rustls::version::TLS13][..],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| bad(format!("ssl: {error}")))?
        .with_root_certificates(roots);
    let mut config = if ssl.tls_cert.as_os_str().is_empty() {
        builder.with_no_client_auth()
    } else {
        let chain = certificates(&ssl.tls_cert, "ssl.tlsCert")?;
        let key = PrivateKeyDer::from_pem_file(&ssl.tls_key)
            .map_err(|error| unreadable(&ssl.tls_key, "ssl.tlsKey", &error))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| bad(format!("ssl.tlsCert: {error}")))?
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, KvError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(path, setting, &error))?;
    if found.is_empty() {
        return Err(bad(format!("{setting}: {} holds no certificate", path.display())));
    }
    Ok(found)
}

fn unreadable(path: &Path, setting: &str, error: &dyn std::fmt::Display) -> KvError {
    bad(format!("{setting}: {}: {error}", path.display()))
}
