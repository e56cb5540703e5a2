//! S3's operations on the objects; those that the storage crate and its peers use.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use redkite_runtime::blocking;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, GetObjectInput, GetObjectOutput,
    HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::faults::{Lie, Mischief};
use crate::objects::{Object, Objects, Query, Refusal};

/// S3 gives at most so many keys at once.
const MOST_KEYS: i32 = 1000;
/// How long a liar waits between looking and writing.
const RACE: Duration = Duration::from_millis(20);

/// The operations.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) objects: Arc<Objects>,
    pub(crate) mischief: Arc<Mischief>,
}

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoBucket => s3_error!(NoSuchBucket),
            Refusal::BucketExists => s3_error!(BucketAlreadyOwnedByYou),
            Refusal::NoObject => s3_error!(NoSuchKey),
            Refusal::NoUpload => s3_error!(NoSuchUpload),
            Refusal::BadPart => s3_error!(InvalidPart),
            Refusal::Exists => s3_error!(PreconditionFailed),
            Refusal::Disk(error) => s3_error!(InternalError, "{error}"),
        }
    }
}

impl Service {
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Objects) -> Result<T, Refusal> + Send + 'static,
    ) -> S3Result<T> {
        let objects = self.objects.clone();
        Ok(blocking(move || work(&objects)).await?)
    }

    /// Writes an object as asked, or as a liar would.
    async fn write(&self, bucket: String, key: String, bytes: Bytes, absent: bool) -> S3Result<Object> {
        let lie = self.mischief.lie().filter(|_| absent);
        let put = |absent| {
            let (bucket, key, bytes) = (bucket.clone(), key.clone(), bytes.clone());
            self.work(move |objects| objects.put(&bucket, &key, bytes, absent))
        };
        match lie {
            Some(Lie::IgnoresCondition) => put(false).await,
            Some(Lie::ReplacesWhatItRefuses) => {
                let honest = put(true).await;
                put(false).await?;
                honest
            }
            Some(Lie::ChecksThenActs) => {
                if self.objects.get(&bucket, &key).is_ok() {
                    return Err(Refusal::Exists.into());
                }
                tokio::time::sleep(RACE).await;
                put(false).await
            }
            _ => put(absent).await,
        }
    }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = req.input.bucket;
        self.work(move |objects| objects.create_bucket(&bucket)).await?;
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        if self.objects.has_bucket(&req.input.bucket) {
            return Ok(S3Response::new(HeadBucketOutput::default()));
        }
        Err(Refusal::NoBucket.into())
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { bucket, key, body, if_none_match, if_match, .. } = req.input;
        if if_match.is_some() {
            return Err(s3_error!(NotImplemented, "If-Match is not implemented"));
        }
        let absent = wants_absence(if_none_match)?;
        let object = self.write(bucket, key, collect(body).await?, absent).await?;
        let output = PutObjectOutput { e_tag: Some(ETag::Strong(object.tag)), ..PutObjectOutput::default() };
        Ok(S3Response::new(output))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, if_match, .. } = req.input;
        let object = self.objects.get(&bucket, &key)?;
        check_version(if_match, &object)?;
        let part = match range {
            Some(range) => Some(range.check(object.size)?),
            None => None,
        };
        let content_range = part.as_ref().map(|part| {
            let last = part.end.saturating_sub(1);
            format!("bytes {}-{last}/{}", part.start, object.size)
        });
        let read = object.clone();
        let bytes = blocking(move || read.read(part.unwrap_or(0..read.size))).await;
        let bytes = bytes.map_err(Refusal::Disk)?;
        let output = GetObjectOutput {
            content_length: Some(bytes.len().try_into().expect("memory")),
            content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(ETag::Strong(object.tag)),
            last_modified: Some(Timestamp::from(object.modified)),
            body: Some(StreamingBlob::wrap(stream::iter([Ok::<_, std::io::Error>(bytes)]))),
            ..GetObjectOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.objects.get(&req.input.bucket, &req.input.key)?;
        let output = HeadObjectOutput {
            content_length: Some(size(&object)),
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(ETag::Strong(object.tag)),
            last_modified: Some(Timestamp::from(object.modified)),
            ..HeadObjectOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let keys = input.max_keys.unwrap_or(MOST_KEYS).clamp(0, MOST_KEYS);
        let query = Query {
            prefix: &prefix,
            after: &after,
            delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
            limit: usize::try_from(keys).expect("clamped"),
        };
        let mut page = self.objects.list(&input.bucket, &query)?;
        if self.mischief.lie() == Some(Lie::HidesFromLists) {
            page = crate::objects::Page::default();
        }
        let contents: Vec<_> = page.objects.into_iter().map(listed).collect();
        let common = page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) });
        let common: Vec<_> = common.collect();
        let output = ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            key_count: Some((contents.len() + common.len()).try_into().expect("a thousand")),
            max_keys: Some(keys),
            contents: Some(contents),
            common_prefixes: Some(common),
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: page.next,
            start_after: input.start_after,
            ..ListObjectsV2Output::default()
        };
        Ok(S3Response::new(output))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let DeleteObjectInput { bucket, key, .. } = req.input;
        if self.mischief.lie() != Some(Lie::KeepsDeleted) {
            self.work(move |objects| objects.delete(&bucket, &key)).await?;
        }
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        let mut deleted = Vec::new();
        for object in delete.objects {
            let (bucket, key) = (bucket.clone(), object.key.clone());
            self.work(move |objects| objects.delete(&bucket, &key)).await?;
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        let output = DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() };
        Ok(S3Response::new(output))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput { bucket, key, .. } = req.input;
        let id = self.objects.begin_upload(&bucket, &key)?;
        let output = CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { body, part_number, upload_id, .. } = req.input;
        let bytes = collect(body).await?;
        let tag = self.work(move |objects| objects.put_part(&upload_id, part_number, bytes)).await?;
        let output = UploadPartOutput { e_tag: Some(ETag::Strong(tag)), ..UploadPartOutput::default() };
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { bucket, key, multipart_upload, upload_id, if_none_match, .. } =
            req.input;
        let absent = wants_absence(if_none_match)?;
        let parts = multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named: Option<Vec<_>> =
            parts.into_iter().map(|part| Some((part.part_number?, part.e_tag?.into_value()))).collect();
        let named = named.filter(|parts| !parts.is_empty()).ok_or_else(|| s3_error!(MalformedXML))?;
        if !named.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let object = self.work(move |objects| objects.complete(&upload_id, &named, absent)).await?;
        let output = CompleteMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            e_tag: Some(ETag::Strong(object.tag)),
            ..CompleteMultipartUploadOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.objects.abort(&req.input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

fn wants_absence(condition: Option<ETagCondition>) -> S3Result<bool> {
    match condition {
        None => Ok(false),
        Some(condition) if condition.is_any() => Ok(true),
        Some(_) => Err(s3_error!(NotImplemented, "If-None-Match takes only *")),
    }
}

fn check_version(if_match: Option<ETagCondition>, object: &Object) -> S3Result<()> {
    match if_match.as_ref().and_then(ETagCondition::as_etag) {
        Some(wanted) if wanted.value() != object.tag => Err(s3_error!(PreconditionFailed)),
        _ => Ok(()),
    }
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut whole = BytesMut::new();
    if let Some(mut body) = body {
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| s3_error!(IncompleteBody, "{error}"))?;
            whole.extend_from_slice(&piece);
        }
    }
    Ok(whole.freeze())
}

fn size(object: &Object) -> i64 {
    object.size.try_into().expect("sizes are far below 2^63")
}

fn listed((key, object): (String, Object)) -> s3s::dto::Object {
    s3s::dto::Object {
        size: Some(size(&object)),
        key: Some(key),
        e_tag: Some(ETag::Strong(object.tag)),
        last_modified: Some(Timestamp::from(object.modified)),
        ..s3s::dto::Object::default()
    }
}
