//! Search.

use std::sync::Arc;

use redkite_catalog::{IndexMethod, IndexRecord};
use redkite_proto::common::Status;
use redkite_proto::milvus::search_request::SearchInput;
use redkite_proto::milvus::{HybridSearchRequest, SearchRequest as WireRequest, SearchResults};
use redkite_proto::schema::{SearchIteratorV2Results, SearchResultData};
use redkite_query::PlanPurpose;
use redkite_query::reduce::{SearchPart, merge_search, round_decimal};
use redkite_service::{Error, SearchRequest, VectorParams};
use redkite_types::{CollectionSchema, Column, FieldSchema, Metric, limits};

use super::consistency::Freshness;
use super::iterator::Page;
use super::output::Output;
use super::search_params::SearchParams;
use super::{partition_key, placeholder, window};
use crate::collection::{Readable, expired_before};
use crate::convert::{keys, to_wire};
use crate::write::insert::refuse_namespace;
use crate::{Proxy, RequestContext, refuse};

/// Results of all queries together: the smallest is a byte of id and four of score.
const MAX_ENTRIES: usize = limits::MAX_SEND_BYTES / 5;

/// What is searched for, besides the request that goes to the shards.
struct Search {
    params: SearchParams,
    output: Output,
    metric: Metric,
    page: Option<Page>,
    request: Arc<SearchRequest>,
}

impl Proxy {
    /// The nearest rows of query vectors.
    ///
    /// # Errors
    /// In Milvus's words: a bad request, a collection that is not loaded, a shard that fails.
    pub async fn search(
        &self,
        context: RequestContext,
        request: WireRequest,
    ) -> Result<SearchResults, Error> {
        refuse_unsupported(&request)?;
        let target = self.readable(&context, &request.db_name, &request.collection_name).await?;
        let first_page = request.guarantee_timestamp == 0;
        let collection_name = request.collection_name.clone();
        let Search { params, output, metric, page, request } = self.plan_search(&target, request)?;
        let found = self.search_shards(&target.record, request.clone()).await?;
        let offset = if page.is_some() { 0 } else { params.offset };
        let part = merge_search(found.parts, metric.larger_is_nearer(), offset, request.limit - offset)
            .map_err(Error::internal)?;
        let (part, cursor) = match page {
            None => (part, None),
            Some(page) => {
                let token = page.token.clone();
                let (part, last_bound) = self.iterators.finish(page, part, metric);
                (part, Some(SearchIteratorV2Results { token, last_bound }))
            }
        };
        self.check_size("search", &part.columns)?;
        let limit = params.limit;
        let data = SearchResultData {
            search_iterator_v2_results: cursor,
            ..encode(&target.record.schema, part, &output, params.round_decimal, limit)
        };
        Ok(SearchResults {
            status: Some(Status::default()),
            results: Some(data),
            collection_name,
            session_ts: if params.iterator && first_page { found.read_timestamp.0 } else { 0 },
        })
    }

    /// Several searches whose results are ranked together.
    ///
    /// # Errors
    /// Always: not supported yet.
    pub async fn hybrid_search(
        &self,
        _context: RequestContext,
        _request: HybridSearchRequest,
    ) -> Result<SearchResults, Error> {
        Err(refuse::unsupported("hybrid search"))
    }

    fn plan_search(&self, target: &Readable, request: WireRequest) -> Result<Search, Error> {
        let collection = &target.record;
        let settings = &self.parts.settings;
        let by_key = collection.schema.partition_key().is_some();
        if by_key && !request.partition_names.is_empty() {
            return Err(refuse::named_partition());
        }
        let output = Output::resolve(&collection.schema, &request.output_fields)?;
        if output.count {
            return Err(refuse::invalid("aggregates are not supported in search request"));
        }
        let params = SearchParams::parse(&request.search_params, window::largest(settings, collection))?;
        if params.collection.is_some_and(|id| id != collection.id.0) {
            return Err(refuse::invalid(format_args!(
                "collection id:{} in the request is not consistent to that in the search context,\
                 alias or database may have been changed: {}",
                params.collection.unwrap_or_default(),
                collection.id,
            )));
        }
        let field = anns_field(&collection.schema, params.anns_field.as_deref())?;
        let group = match request.search_input {
            Some(SearchInput::PlaceholderGroup(group)) => group,
            Some(SearchInput::Ids(_)) => return Err(refuse::unsupported("search by primary keys")),
            None => bytes::Bytes::new(),
        };
        let queries = placeholder::queries(field, &group, request.nq, settings.max_nq)?;
        let plan =
            self.plans.plan(collection, &request.dsl, request.expr_template_values, PlanPurpose::Query)?;
        let filter = Some(plan).filter(|plan| !plan.always_true());
        let named = target.loaded_partitions(&request.partition_names)?;
        let partitions = if by_key { partition_key::prune(collection, filter.as_deref()) } else { named };
        let index = target
            .indexes
            .as_ref()
            .and_then(|indexes| indexes.on_field(field.id))
            // A collection is loaded with indexes on all its vectors: the field came later.
            .ok_or_else(|| Error::Unexpected {
                reason: format!(
                    "field index of the field: {} is not loaded, please reload the collection",
                    field.name
                ),
            })?;
        let metric = matching_metric(index, params.metric.as_deref())?;
        let range = params.index.range(metric)?;
        let now = self.parts.clock.now();
        let page = params
            .cursor
            .as_ref()
            .map(|cursor| self.iterators.page(cursor, range, metric, self.parts.clock.tick()));
        if page.is_some() && queries.nq() > 1 {
            return Err(refuse::invalid("search_iterator_v2 does not support processing multiple vectors"));
        }
        let limit = page.as_ref().map_or(params.limit + params.offset, |page| page.limit);
        check_entries(queries.nq(), limit)?;
        let bounded = range.is_some() || params.iterator;
        let freshness = Freshness {
            use_default: request.use_default_consistency,
            level: request.consistency_level,
            guarantee: request.guarantee_timestamp,
            iterator: params.iterator,
        };
        let request = SearchRequest {
            collection: collection.id,
            schema_version: collection.schema.version,
            partitions,
            field: field.id,
            metric,
            queries,
            limit,
            params: vector_params(index, params.index.vector()?, limit, bounded)?,
            range: page.as_ref().map_or(range, |page| page.range),
            filter,
            output: output.fields.clone(),
            consistency: freshness.consistency(collection.consistency, now, settings.graceful_time)?,
            ignore_growing: params.ignore_growing,
            expired_before: expired_before(collection, now),
        };
        Ok(Search { params, output, metric, page, request: Arc::new(request) })
    }

    /// Refuses results whose fields are too large. Milvus does not count the scores either, nor the ids
    /// of a search.
    pub(crate) fn check_size(&self, kind: &str, columns: &[Column]) -> Result<(), Error> {
        let limit = self.parts.settings.max_output_bytes;
        if columns.iter().map(|column| column.data.memory_bytes()).sum::<usize>() <= limit {
            return Ok(());
        }
        Err(refuse::invalid(format_args!("{kind} results exceed the maxOutputSize Limit {limit}")))
    }
}

/// Refuses a search for more results than any answer can carry, before it is searched.
fn check_entries(nq: usize, limit: usize) -> Result<(), Error> {
    if nq.saturating_mul(limit) <= MAX_ENTRIES {
        return Ok(());
    }
    Err(refuse::invalid("number of result entries is too large"))
}

fn refuse_unsupported(request: &WireRequest) -> Result<(), Error> {
    refuse_namespace(request.namespace.as_deref())?;
    let unsupported = [
        (!request.sub_reqs.is_empty(), "hybrid search"),
        (request.function_score.is_some(), "function score"),
        (!request.function_chains.is_empty(), "function chains"),
        (request.highlighter.is_some(), "highlighter"),
        (request.search_aggregation.is_some(), "search aggregation"),
    ];
    match unsupported.iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, what)) => Err(refuse::unsupported(what)),
    }
}

/// The vector field to search: the named one, or the only one.
fn anns_field<'a>(schema: &'a CollectionSchema, name: Option<&str>) -> Result<&'a FieldSchema, Error> {
    let mut vectors = schema.vector_fields();
    match name {
        Some(name) => vectors.find(|field| field.name == name).ok_or_else(|| {
            refuse::invalid(format_args!(
                "failed to create query plan: failed to get field schema by name: fieldName({name}) not found"
            ))
        }),
        None => match (vectors.next(), vectors.next()) {
            (Some(field), None) => Ok(field),
            (None, _) => Err(refuse::invalid("anns_field not found in schema")),
            (Some(_), Some(_)) => Err(refuse::invalid(
                "multiple anns_fields exist, please specify a anns_field in search_params",
            )),
        },
    }
}

/// The metric of the index, which the client may name.
fn matching_metric(index: &IndexRecord, named: Option<&str>) -> Result<Metric, Error> {
    let metric = index
        .spec
        .metric
        .ok_or_else(|| Error::internal(format_args!("index {} has no metric", index.name)))?;
    match named {
        Some(named) if !named.eq_ignore_ascii_case(metric.name()) => {
            Err(refuse::mismatch(metric, named, "metric type not match"))
        }
        _ => Ok(metric),
    }
}

/// The parameters for an index. The candidate list of a graph must hold all results; where the client
/// chose neither the index nor the number of results, it is made to.
fn vector_params(
    index: &IndexRecord,
    params: VectorParams,
    limit: usize,
    bounded: bool,
) -> Result<VectorParams, Error> {
    let Some(ef) = params.ef.filter(|_| matches!(index.spec.method, IndexMethod::Hnsw { .. })) else {
        return Ok(params);
    };
    let chosen = index.params.iter().any(|(key, value)| key == "index_type" && value == "HNSW");
    if ef as usize >= limit {
        return Ok(params);
    }
    if chosen && !bounded {
        return Err(refuse::invalid(format_args!(
            "out of range in json: ef({ef}) should be larger than k({limit})"
        )));
    }
    Ok(VectorParams { ef: u32::try_from(limit).ok(), ..params })
}

fn encode(
    schema: &CollectionSchema,
    mut part: SearchPart,
    output: &Output,
    decimals: i32,
    limit: usize,
) -> SearchResultData {
    round_decimal(&mut part.scores, decimals);
    let key = schema.primary_key();
    let ids = keys::to_wire(part.ids);
    let mut output_fields = output.names.clone();
    let column = |column: Column| {
        schema.field_by_id(column.field).map(|field| to_wire::column(field, column, &output.dynamic_keys))
    };
    let mut fields_data: Vec<_> = part.columns.into_iter().filter_map(column).collect();
    if output.primary_key {
        output_fields.push(key.name.clone());
        fields_data.push(to_wire::key_column(key, &ids));
    }
    SearchResultData {
        num_queries: part.nq.into(),
        top_k: i64::try_from(limit).unwrap_or(i64::MAX),
        fields_data,
        scores: part.scores,
        ids: Some(ids),
        topks: part.topks.into_iter().map(i64::from).collect(),
        output_fields,
        primary_field_name: key.name.clone(),
        ..SearchResultData::default()
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
