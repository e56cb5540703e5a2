//! Requests to the bucket: keys, retries, deadlines, and errors that name what failed.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path as Key;
use object_store::signer::Signer;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore as _,
    ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};
use redkite_runtime::Backoff;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::settings::BucketSettings;
use super::transport::{Failure, Transport, Verdict};
use crate::{Error, ObjectEntry, Result, validate_path};

/// Largest piece of an object in one request: bounds memory, and lets a slow bucket finish it in time.
pub(super) const PIECE: u64 = 8 << 20;
/// Pieces of one object under way at the same time.
pub(super) const PIECES_AT_ONCE: usize = 4;
/// Pieces of all large objects under way at the same time: bounds memory.
const PIECES_IN_ALL: usize = 32;
const FIRST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than services keep an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a signature for making the bucket is good.
const SIGNATURE: Duration = Duration::from_secs(60);

/// One version of an object: equal content under an equal name has an equal one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) size: u64,
    pub(super) etag: String,
}

/// The bucket as the service shows it.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) store: AmazonS3,
    http: HttpClient,
    /// Bucket and address, for messages.
    name: String,
    root: String,
    region: String,
    retry_timeout: Duration,
    page: Option<usize>,
    large: Semaphore,
}

impl Remote {
    pub(super) fn new(settings: &BucketSettings) -> Result<Self> {
        let endpoint = settings.endpoint()?;
        if settings.bucket_name.is_empty() {
            return Err(settings.wrong("minio.bucketName", "must not be empty"));
        }
        if !settings.root().is_empty() && validate_path(settings.root()).is_err() {
            return Err(settings.wrong("minio.rootPath", "cannot be the beginning of keys"));
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may be faster: then theirs is used.
            _ = rustls::crypto::ring::default_provider().install_default();
        }
        let options = client_options(settings)?;
        let unusable = |error: object_store::Error| settings.wrong("minio", &error.to_string());
        let http = Transport.connect(&options).map_err(unusable)?;
        Ok(Self {
            store: client(settings, options)?.build().map_err(unusable)?,
            http,
            name: format!("{} at {endpoint}", settings.bucket_name),
            root: settings.root().to_owned(),
            region: settings.region.clone(),
            retry_timeout: settings.retry_timeout,
            page: Some(settings.list_objects_max_keys).filter(|keys| *keys > 0),
            large: Semaphore::new(PIECES_IN_ALL),
        })
    }

    /// Bucket and address, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The key of an object.
    pub(super) fn key(&self, path: &str) -> Result<Key> {
        validate_path(path)?;
        Key::parse(self.raw_key(path))
            .map_err(|_| Error::InvalidPath { path: path.to_owned(), reason: "not a key of a bucket" })
    }

    fn raw_key(&self, path: &str) -> String {
        if self.root.is_empty() { path.to_owned() } else { format!("{}/{path}", self.root) }
    }

    /// Makes requests until one succeeds, one fails for good, or the time is over.
    pub(super) async fn retry<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, object_store::Error>>,
    {
        let mut patience = self.patience();
        loop {
            let failure = match request().await {
                Ok(value) => return Ok(value),
                Err(error) => Failure::from(error),
            };
            if !failure.verdict.retryable() || !patience.another_try().await {
                return Err(failure);
            }
            tracing::debug!(bucket = self.name, error = %failure, "request is made again");
        }
    }

    fn patience(&self) -> Patience {
        Patience {
            until: Instant::now() + self.retry_timeout,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
        }
    }

    /// The error for a failed request about an object.
    pub(super) fn error(&self, operation: &'static str, path: &str) -> impl FnOnce(Failure) -> Error {
        move |failure| match failure.verdict {
            Verdict::Absent => Error::NotFound { path: path.to_owned() },
            verdict => Error::Bucket {
                operation,
                bucket: self.name.clone(),
                path: self.raw_key(path),
                // The bucket may be made any time; what was refused stays refused.
                retryable: verdict.retryable() || verdict == Verdict::NoBucket,
                source: failure.into(),
            },
        }
    }

    pub(super) async fn put(&self, path: &str, bytes: Bytes) -> Result<Option<String>> {
        let key = self.key(path)?;
        let put = self.retry(|| self.store.put(&key, PutPayload::from(bytes.clone()))).await;
        put.map(|result| result.e_tag).map_err(self.error("put", path))
    }

    /// Creates an object. Once an answer was lost, finding the object there says nothing about whose it is.
    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<()> {
        let key = self.key(path)?;
        let mut patience = self.patience();
        let mut lost: Option<Failure> = None;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let request = self.store.put_opts(&key, PutPayload::from(bytes.clone()), options);
            let failure = match request.await {
                Ok(_) => return Ok(()),
                Err(error) => Failure::from(error),
            };
            let verdict = failure.verdict;
            let again = verdict.retryable() && patience.another_try().await;
            match verdict {
                Verdict::Precondition if lost.is_none() => {
                    return Err(Error::AlreadyExists { path: path.to_owned() });
                }
                Verdict::Lost => _ = lost.get_or_insert(failure),
                _ if again => {}
                _ if lost.is_none() => return Err(self.error("create", path)(failure)),
                _ => {}
            }
            if !again && let Some(lost) = lost {
                return Err(Error::Unknown { path: path.to_owned(), source: lost.into() });
            }
        }
    }

    pub(super) async fn head(&self, path: &str) -> Result<Version> {
        let key = self.key(path)?;
        let meta = self.retry(|| self.store.head(&key)).await.map_err(self.error("head", path))?;
        Ok(version(meta))
    }

    /// Reads an object, in pieces if it is large.
    pub(super) async fn get(&self, path: &str) -> Result<Bytes> {
        let key = self.key(path)?;
        let (first, version) = match self.piece(&key, 0..PIECE, None).await {
            Ok(piece) => piece,
            // No byte to begin with.
            Err(failure) if failure.verdict == Verdict::OutOfRange => return Ok(Bytes::new()),
            Err(failure) => return Err(self.error("get", path)(failure)),
        };
        if version.size <= PIECE {
            return Ok(first);
        }
        let mut whole = Vec::with_capacity(usize::try_from(version.size).expect("fits into memory"));
        whole.extend_from_slice(&first);
        let mut rest = self.pieces(&key, PIECE..version.size, Some(version.etag));
        while let Some(piece) = rest.next().await {
            whole.extend_from_slice(&piece.map_err(self.error("get", path))?);
        }
        Ok(whole.into())
    }

    pub(super) async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        let key = self.key(path)?;
        let outside = |size| {
            let Range { start, end } = range;
            Err(Error::OutOfRange { path: path.to_owned(), start, end, size })
        };
        if range.start >= range.end {
            let size = self.head(path).await?.size;
            return if range.start > range.end || range.end > size {
                outside(size)
            } else {
                Ok(Bytes::new())
            };
        }
        let first = range.start..range.end.min(range.start + PIECE);
        let (first, version) = match self.piece(&key, first, None).await {
            Ok(piece) => piece,
            Err(failure) if failure.verdict == Verdict::OutOfRange => {
                return outside(self.head(path).await?.size);
            }
            Err(failure) => return Err(self.error("get", path)(failure)),
        };
        if range.end > version.size {
            return outside(version.size);
        }
        if range.end - range.start <= PIECE {
            return Ok(first);
        }
        let mut whole = first.to_vec();
        let mut rest = self.pieces(&key, range.start + PIECE..range.end, Some(version.etag));
        while let Some(piece) = rest.next().await {
            whole.extend_from_slice(&piece.map_err(self.error("get", path))?);
        }
        Ok(whole.into())
    }

    /// Waits until one more piece of a large object may be under way.
    pub(super) async fn turn(&self) -> SemaphorePermit<'_> {
        self.large.acquire().await.expect("never closed")
    }

    /// Reads a range piece by piece, in order, some requests ahead. Other versions of the object than
    /// `etag` fail with [`Verdict::Precondition`].
    pub(super) fn pieces<'a>(
        &'a self,
        key: &'a Key,
        range: Range<u64>,
        etag: Option<String>,
    ) -> BoxStream<'a, Result<Bytes, Failure>> {
        let starts = (range.start..range.end).step_by(usize::try_from(PIECE).expect("small"));
        let requests = starts.map(move |start| {
            let (piece, etag) = (start..range.end.min(start + PIECE), etag.clone());
            async move {
                let _turn = self.turn().await;
                self.piece(key, piece, etag).await.map(|(bytes, _)| bytes)
            }
        });
        futures::stream::iter(requests).buffered(PIECES_AT_ONCE).boxed()
    }

    /// Reads a range, or what of it there is, and the version it is from.
    async fn piece(
        &self,
        key: &Key,
        range: Range<u64>,
        etag: Option<String>,
    ) -> Result<(Bytes, Version), Failure> {
        self.retry(|| async {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                if_match: etag.clone(),
                ..GetOptions::default()
            };
            let result = self.store.get_opts(key, options).await?;
            let (expected, version) = (result.range.end - result.range.start, version(result.meta.clone()));
            let bytes = result.bytes().await?;
            if bytes.len() as u64 == expected {
                return Ok((bytes, version));
            }
            let source = format!("{} bytes came instead of {expected}", bytes.len()).into();
            Err(object_store::Error::Generic { store: "S3", source })
        })
        .await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let raw = self.raw_key(prefix);
        let skip = self.raw_key("").len();
        let (mut entries, mut token) = (Vec::new(), None);
        loop {
            let request = || {
                let options = PaginatedListOptions {
                    max_keys: self.page,
                    page_token: token.clone(),
                    ..PaginatedListOptions::default()
                };
                self.store.list_paginated(Some(&raw), options)
            };
            let page = self.retry(request).await.map_err(self.error("list", prefix))?;
            entries.extend(page.result.objects.into_iter().filter_map(|meta| entry(meta, skip)));
            match page.page_token {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    pub(super) async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        let raw = self.raw_key(prefix);
        let skip = self.raw_key("").len();
        let (mut folders, mut token) = (Vec::new(), None);
        loop {
            let request = || {
                let options = PaginatedListOptions {
                    delimiter: Some("/".into()),
                    max_keys: self.page,
                    page_token: token.clone(),
                    ..PaginatedListOptions::default()
                };
                self.store.list_paginated(Some(&raw), options)
            };
            let page = self.retry(request).await.map_err(self.error("list", prefix))?;
            let found = page.result.common_prefixes.into_iter();
            folders.extend(found.filter_map(|folder| Some(format!("{}/", folder.as_ref().get(skip..)?))));
            match page.page_token {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        folders.sort_unstable();
        Ok(folders)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let key = self.key(path)?;
        match self.retry(|| self.store.delete(&key)).await {
            Err(failure) if failure.verdict != Verdict::Absent => Err(self.error("delete", path)(failure)),
            _ => Ok(()),
        }
    }

    /// Makes sure that the bucket is there and lets itself be listed.
    pub(super) async fn ensure_bucket(&self, create: bool) -> Result<()> {
        match self.retry(|| self.look()).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.verdict == Verdict::NoBucket && create => {
                self.retry(|| self.create_bucket()).await.map_err(self.error("create bucket", ""))?;
                tracing::info!(bucket = self.name, "made the bucket");
                self.retry(|| self.look()).await.map_err(self.error("list", ""))
            }
            Err(failure) => Err(self.error("list", "")(failure)),
        }
    }

    async fn look(&self) -> object_store::Result<()> {
        let options = PaginatedListOptions { max_keys: Some(1), ..PaginatedListOptions::default() };
        self.store.list_paginated(Some(&self.raw_key("")), options).await.map(drop)
    }

    /// The library makes no buckets: a request of our own, signed by it.
    async fn create_bucket(&self) -> object_store::Result<()> {
        let wrong =
            |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::NotSupported { source };
        let method = "PUT".parse().expect("a method");
        let url = self.store.signed_url(method, &Key::default(), SIGNATURE).await?;
        let body = match self.region.as_str() {
            "" | "us-east-1" => HttpRequestBody::empty(),
            region => format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )
            .into(),
        };
        // Some services want to be told that there is no body.
        let length = body.content_length().into();
        let mut request = HttpRequest::new(body);
        request.headers_mut().insert("content-length", length);
        *request.method_mut() = "PUT".parse().expect("a method");
        *request.uri_mut() = url.as_str().parse().map_err(|error| wrong(Box::new(error)))?;
        match self.http.execute(request).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure =
                    Failure::from(object_store::Error::Generic { store: "S3", source: error.into() });
                // Another node was faster.
                if failure.is_conflict() { Ok(()) } else { Err(failure.into_source()) }
            }
        }
    }
}

/// How much longer a call goes on trying.
struct Patience {
    until: Instant,
    backoff: Backoff,
}

impl Patience {
    /// Waits before another try; `false` if there is no time left for one.
    async fn another_try(&mut self) -> bool {
        let at = Instant::now() + self.backoff.next_delay();
        if at > self.until {
            return false;
        }
        tokio::time::sleep_until(at).await;
        true
    }
}

fn version(meta: ObjectMeta) -> Version {
    let etag = meta.e_tag.unwrap_or_else(|| meta.last_modified.timestamp_micros().to_string());
    Version { size: meta.size, etag }
}

/// An object as listed; what cannot be an object's name is not ours.
fn entry(meta: ObjectMeta, skip: usize) -> Option<ObjectEntry> {
    let path = meta.location.as_ref().get(skip..).filter(|path| validate_path(path).is_ok())?.to_owned();
    let modified_millis = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
    Some(ObjectEntry { path, size: meta.size, modified_millis })
}

fn client_options(settings: &BucketSettings) -> Result<ClientOptions> {
    let mut options = ClientOptions::new()
        .with_timeout(settings.request_timeout)
        .with_connect_timeout(settings.request_timeout.min(CONNECT_TIMEOUT))
        // A connection that the service has given up meanwhile would lose an answer.
        .with_pool_idle_timeout(IDLE_TIMEOUT)
        .with_allow_http(!settings.use_ssl)
        // Without TLS the system's certificates are not needed, and need not be there.
        .with_no_system_certificates(!settings.use_ssl || settings.ssl.ca_certificate.is_some());
    if let Some(path) = settings.ssl.ca_certificate.as_ref().filter(|_| settings.use_ssl) {
        let wrong = |problem: &dyn std::fmt::Display| {
            settings.wrong("minio.ssl.tlsCACert", &format!("{}: {problem}", path.display()))
        };
        let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
        for certificate in Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

fn client(settings: &BucketSettings, options: ClientOptions) -> Result<AmazonS3Builder> {
    let region = if settings.region.is_empty() { "us-east-1" } else { &settings.region };
    let mut builder = AmazonS3Builder::new()
        .with_endpoint(settings.bucket_endpoint()?)
        .with_bucket_name(&settings.bucket_name)
        .with_region(region)
        .with_virtual_hosted_style_request(settings.use_virtual_host)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_disable_bulk_delete(true)
        .with_client_options(options)
        .with_http_connector(Transport)
        // Whoever asks knows better what a failed request may have done.
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 0,
            retry_timeout: Duration::ZERO,
        });
    if !settings.use_iam {
        builder = builder
            .with_access_key_id(&settings.access_key_id)
            .with_secret_access_key(&settings.secret_access_key);
    } else if !settings.iam_endpoint.is_empty() {
        builder = builder.with_metadata_endpoint(&settings.iam_endpoint);
    }
    Ok(builder)
}
