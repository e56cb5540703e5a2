//! Has this filter been parsed before?

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use redkite_catalog::CollectionRecord;
use redkite_proto::schema::template_array_value::Data as ArrayData;
use redkite_proto::schema::template_value::Val;
use redkite_proto::schema::{TemplateArrayValue, TemplateValue as WireValue};
use redkite_query::{FilterError, Plan, PlanPurpose, TemplateValue, Templates};
use redkite_service::Error;
use redkite_types::CollectionId;

use crate::refuse;

/// Plans kept per collection; programs use a handful of filters, or never the same twice.
const PLANS_KEPT: usize = 128;
/// Longer filters hold lists of literals and hardly ever come again.
const LONGEST_KEPT: usize = 1024;
/// Collections with kept plans; forgotten all at once when there are more.
const COLLECTIONS_KEPT: usize = 1024;

/// Parsed filters by collection, schema version and text.
#[derive(Debug, Default)]
pub(crate) struct PlanCache(Mutex<HashMap<CollectionId, Plans>>);

#[derive(Debug, Default)]
struct Plans {
    schema_version: u32,
    by_text: HashMap<String, (Arc<Plan>, u64)>,
    uses: u64,
}

impl Plans {
    fn get(&mut self, text: &str) -> Option<Arc<Plan>> {
        self.uses += 1;
        let (plan, used) = self.by_text.get_mut(text)?;
        *used = self.uses;
        Some(plan.clone())
    }

    fn put(&mut self, text: &str, plan: Arc<Plan>) {
        if self.by_text.len() >= PLANS_KEPT
            && let Some(oldest) =
                self.by_text.iter().min_by_key(|(_, (_, used))| *used).map(|(text, _)| text.clone())
        {
            self.by_text.remove(&oldest);
        }
        self.by_text.insert(text.to_owned(), (plan, self.uses));
    }
}

impl PlanCache {
    /// The plan of a filter; an empty filter wants every row.
    pub(crate) fn plan(
        &self,
        collection: &CollectionRecord,
        text: &str,
        templates: HashMap<String, WireValue>,
        purpose: PlanPurpose,
    ) -> Result<Arc<Plan>, Error> {
        let keep = templates.is_empty() && text.len() <= LONGEST_KEPT;
        if keep && let Some(plan) = self.kept(collection, text) {
            return Ok(plan);
        }
        let templates = read_templates(templates)?;
        let refused = |source: FilterError| Error::invalid(source.client_message(text, purpose));
        let parsed = redkite_query::filter::parse(text, &collection.schema, &templates).map_err(refused)?;
        let plan = Arc::new(parsed);
        if keep {
            self.with(collection, |plans| plans.put(text, plan.clone()));
        }
        Ok(plan)
    }

    fn kept(&self, collection: &CollectionRecord, text: &str) -> Option<Arc<Plan>> {
        self.with(collection, |plans| plans.get(text))
    }

    fn with<T>(&self, collection: &CollectionRecord, act: impl FnOnce(&mut Plans) -> T) -> T {
        let mut collections = self.0.lock();
        if collections.len() >= COLLECTIONS_KEPT && !collections.contains_key(&collection.id) {
            collections.clear();
        }
        let plans = collections.entry(collection.id).or_default();
        let schema_version = collection.schema.version;
        if plans.schema_version != schema_version {
            *plans = Plans { schema_version, ..Plans::default() };
        }
        act(plans)
    }
}

fn read_templates(values: HashMap<String, WireValue>) -> Result<Templates, Error> {
    values.into_iter().map(|(name, value)| Ok((name, read_template(value)?))).collect()
}

fn read_template(value: WireValue) -> Result<TemplateValue, Error> {
    Ok(match value.val {
        Some(Val::BoolVal(value)) => TemplateValue::Bool(value),
        Some(Val::Int64Val(value)) => TemplateValue::Int64(value),
        Some(Val::FloatVal(value)) => TemplateValue::Double(value),
        Some(Val::StringVal(value)) => TemplateValue::String(value),
        Some(Val::ArrayVal(values)) => read_list(values)?,
        Some(Val::BytesVal(_)) => return Err(refuse::unsupported("byte string template values")),
        None => return Err(refuse::invalid("template value without a value")),
    })
}

fn read_list(values: TemplateArrayValue) -> Result<TemplateValue, Error> {
    Ok(TemplateValue::List(match values.data {
        Some(ArrayData::BoolData(array)) => array.data.into_iter().map(TemplateValue::Bool).collect(),
        Some(ArrayData::LongData(array)) => array.data.into_iter().map(TemplateValue::Int64).collect(),
        Some(ArrayData::DoubleData(array)) => array.data.into_iter().map(TemplateValue::Double).collect(),
        Some(ArrayData::StringData(array)) => array.data.into_iter().map(TemplateValue::String).collect(),
        Some(ArrayData::ArrayData(array)) => {
            array.data.into_iter().map(read_list).collect::<Result<_, _>>()?
        }
        Some(ArrayData::JsonData(array)) => {
            array.data.into_iter().map(|json| TemplateValue::Json(json.into())).collect()
        }
        None => Vec::new(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn equal_filters_share_a_plan_until_the_schema_changes() {
        let cache = PlanCache::default();
        let mut collection = testing::collection();
        let plan = |collection: &CollectionRecord, text: &str| {
            cache.plan(collection, text, HashMap::new(), PlanPurpose::Query).unwrap()
        };
        let first = plan(&collection, "id > 1");
        assert!(Arc::ptr_eq(&first, &plan(&collection, "id > 1")));
        collection.schema.version += 1;
        assert!(!Arc::ptr_eq(&first, &plan(&collection, "id > 1")));
    }

    #[test]
    fn the_least_recently_used_plan_goes() {
        let cache = PlanCache::default();
        let collection = testing::collection();
        let plan = |number: usize| {
            cache.plan(&collection, &format!("id > {number}"), HashMap::new(), PlanPurpose::Query).unwrap()
        };
        let first = plan(0);
        for number in 1..PLANS_KEPT + 10 {
            plan(number);
            assert!(Arc::ptr_eq(&first, &plan(0)));
        }
        assert_eq!(cache.0.lock()[&collection.id].by_text.len(), PLANS_KEPT);
    }

    #[test]
    fn bad_filters_are_refused_in_milvus_words() {
        let refused = PlanCache::default().plan(
            &testing::collection(),
            "id inn [1]",
            HashMap::new(),
            PlanPurpose::Delete,
        );
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .starts_with("failed to create delete plan: cannot parse expression: id inn [1]")
        );
    }

    #[test]
    fn templates_are_filled_in() {
        let list = TemplateArrayValue {
            data: Some(ArrayData::LongData(redkite_proto::schema::LongArray { data: vec![1, 2] })),
        };
        let value = WireValue { val: Some(Val::ArrayVal(list)) };
        let templates = HashMap::from([("ids".to_owned(), value)]);
        let plan = PlanCache::default()
            .plan(&testing::collection(), "id in {ids}", templates, PlanPurpose::Query)
            .unwrap();
        assert_eq!(plan.primary_keys(), Some(redkite_types::PrimaryKeys::Int64(vec![1, 2])));
    }
}
