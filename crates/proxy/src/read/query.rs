//! Query: rows by filter, without vectors.

use std::sync::Arc;

use redkite_proto::common::Status;
use redkite_proto::milvus::{QueryRequest, QueryResults};
use redkite_proto::schema::field_data::Field;
use redkite_proto::schema::scalar_field::Data as ScalarData;
use redkite_proto::schema::{FieldData, LongArray, ScalarField};
use redkite_query::PlanPurpose;
use redkite_query::reduce::{RetrievePart, merge_retrieve};
use redkite_service::{Error, RetrieveRequest};
use redkite_types::{CollectionSchema, DataType};

use super::consistency::Freshness;
use super::output::Output;
use super::query_params::QueryParams;
use super::{partition_key, window};
use crate::collection::{Readable, expired_before};
use crate::convert::{keys, to_wire};
use crate::define::name;
use crate::write::insert::refuse_namespace;
use crate::{Proxy, RequestContext, refuse};

/// The name of the one column of a count.
const COUNT: &str = "count(*)";

impl Proxy {
    /// The rows that satisfy a filter, in primary key order, or their number.
    ///
    /// # Errors
    /// In Milvus's words: a bad request, a collection that is not loaded, a shard that fails.
    pub async fn query(&self, context: RequestContext, request: QueryRequest) -> Result<QueryResults, Error> {
        name::collection(&request.collection_name)?;
        refuse_namespace(request.namespace.as_deref())?;
        let target = self.readable(&context, &request.db_name, &request.collection_name).await?;
        let schema = &target.record.schema;
        let first_page = request.guarantee_timestamp == 0;
        let collection_name = request.collection_name.clone();
        let (params, output, request) = self.plan_query(&target, request)?;
        let (fields_data, output_fields, read_timestamp) = if output.count {
            let counted = self.count_shards(&target.record, request).await?;
            let count = counted.parts.into_iter().sum();
            (vec![count_column(count)], vec![COUNT.to_owned()], counted.read_timestamp)
        } else {
            let found = self.retrieve_shards(&target.record, request).await?;
            let part = merge_retrieve(found.parts, params.offset, params.limit).map_err(Error::internal)?;
            self.check_size("query", &part.columns)?;
            let (fields_data, names) = encode(schema, part, &output);
            (fields_data, names, found.read_timestamp)
        };
        Ok(QueryResults {
            status: Some(Status::default()),
            fields_data,
            collection_name,
            output_fields,
            session_ts: if params.iterator && first_page { read_timestamp.0 } else { 0 },
            primary_field_name: schema.primary_key().name.clone(),
            element_indices: Vec::new(),
        })
    }

    fn plan_query(
        &self,
        target: &Readable,
        request: QueryRequest,
    ) -> Result<(QueryParams, Output, Arc<RetrieveRequest>), Error> {
        let collection = &target.record;
        let settings = &self.parts.settings;
        let by_key = collection.schema.partition_key().is_some();
        if by_key && !request.partition_names.is_empty() {
            return Err(refuse::named_partition());
        }
        let params = QueryParams::parse(&request.query_params, window::largest(settings, collection))?;
        if params.collection.is_some_and(|id| id != collection.id.0) {
            return Err(refuse::invalid(
                "Input collection id is not consistent to collectionID in the context,\
                 alias or database may have changed",
            ));
        }
        let plan =
            self.plans.plan(collection, &request.expr, request.expr_template_values, PlanPurpose::Query)?;
        let output = Output::resolve(&collection.schema, &request.output_fields)?;
        check_extent(plan.always_true(), &params, &output)?;
        let filter = Some(plan).filter(|plan| !plan.always_true());
        let named = target.loaded_partitions(&request.partition_names)?;
        let partitions = if by_key { partition_key::prune(collection, filter.as_deref()) } else { named };
        let now = self.parts.clock.now();
        let freshness = Freshness {
            use_default: request.use_default_consistency,
            level: request.consistency_level,
            guarantee: request.guarantee_timestamp,
            iterator: params.iterator,
        };
        let request = RetrieveRequest {
            collection: collection.id,
            schema_version: collection.schema.version,
            partitions,
            filter,
            output: output.fields.clone(),
            limit: params.rows_per_shard(),
            consistency: freshness.consistency(collection.consistency, now, settings.graceful_time)?,
            ignore_growing: params.ignore_growing,
            expired_before: expired_before(collection, now),
        };
        Ok((params, output, Arc::new(request)))
    }
}

/// Everything may be counted, but not returned.
fn check_extent(everything: bool, params: &QueryParams, output: &Output) -> Result<(), Error> {
    if output.count && params.limit.is_some() {
        return Err(refuse::invalid("count entities with pagination is not allowed"));
    }
    if everything && params.limit.is_none() && !output.count {
        return Err(refuse::invalid("empty expression should be used with limit"));
    }
    Ok(())
}

fn count_column(count: u64) -> FieldData {
    let data = vec![i64::try_from(count).unwrap_or(i64::MAX)];
    let values =
        ScalarField { data: Some(ScalarData::LongData(LongArray { data })), ..ScalarField::default() };
    FieldData {
        r#type: DataType::Int64.wire(),
        field_name: COUNT.to_owned(),
        field: Some(Field::Scalars(values)),
        ..FieldData::default()
    }
}

/// The columns, the primary key first, and the names to echo.
fn encode(schema: &CollectionSchema, part: RetrievePart, output: &Output) -> (Vec<FieldData>, Vec<String>) {
    let key = schema.primary_key();
    let mut fields = vec![to_wire::key_column(key, &keys::to_wire(part.ids))];
    fields.extend(part.columns.into_iter().filter_map(|column| {
        schema.field_by_id(column.field).map(|field| to_wire::column(field, column, &output.dynamic_keys))
    }));
    let mut names = output.names.clone();
    if output.primary_key {
        names.push(key.name.clone());
    }
    (fields, names)
}

#[cfg(test)]
mod tests {
    use redkite_types::{Column, ColumnData, FieldId, PrimaryKeys, Timestamp};

    use super::*;
    use crate::testing;

    fn params(limit: Option<usize>) -> QueryParams {
        QueryParams { limit, offset: 0, collection: None, ignore_growing: false, iterator: false }
    }

    #[test]
    fn everything_is_not_returned_without_a_limit() {
        let (rows, count) = (Output::default(), Output { count: true, ..Output::default() });
        assert!(check_extent(true, &params(Some(1)), &rows).is_ok());
        assert!(check_extent(true, &params(None), &count).is_ok());
        let refusal = |limit, output| check_extent(true, &params(limit), output).unwrap_err().to_string();
        assert_eq!(refusal(None, &rows), "empty expression should be used with limit: invalid parameter");
        assert_eq!(
            refusal(Some(1), &count),
            "count entities with pagination is not allowed: invalid parameter"
        );
    }

    #[test]
    fn the_primary_key_comes_first_always() {
        let schema = testing::collection().schema;
        let part = RetrievePart {
            ids: PrimaryKeys::Int64(vec![1]),
            timestamps: vec![Timestamp::ZERO],
            columns: vec![Column::new(
                FieldId(103),
                ColumnData::Json([r#"{"a":1,"b":2}"#].into_iter().collect()),
            )],
        };
        let output = Output::resolve(&schema, &["b".to_owned()]).unwrap();
        let (fields, names) = encode(&schema, part, &output);
        assert_eq!(names, ["b"]);
        assert_eq!(fields[0].field_name, "id");
        assert!(fields[1].is_dynamic);
        let Some(Field::Scalars(ScalarField { data: Some(ScalarData::JsonData(json)), .. })) =
            &fields[1].field
        else {
            panic!("the dynamic field is JSON")
        };
        assert_eq!(json.data[0].as_ref(), br#"{"b":2}"#);
    }

    #[test]
    fn a_count_is_one_number() {
        let column = count_column(7);
        assert_eq!((column.field_name.as_str(), column.r#type), ("count(*)", 5));
    }
}
