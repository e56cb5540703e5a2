//! In which partitions can rows that satisfy a filter be?

use redkite_catalog::CollectionRecord;
use redkite_query::plan::CompareOp;
use redkite_query::{Literal, Plan, Predicate};
use redkite_types::{FieldId, PartitionId, PrimaryKeyRef};

/// The partition of rows with this value of the partition key.
pub(crate) fn partition_of(collection: &CollectionRecord, value: PrimaryKeyRef<'_>) -> PartitionId {
    let count = collection.partitions.len() as u64;
    let at = usize::try_from(value.stable_hash() % count.max(1)).expect("less than a number of partitions");
    collection.partitions[at].id
}

/// The partitions to read for a filter; none named means all of them.
pub(crate) fn prune(collection: &CollectionRecord, plan: Option<&Plan>) -> Vec<PartitionId> {
    let Some((key, plan)) = collection.schema.partition_key().zip(plan) else {
        return Vec::new();
    };
    let Some(values) = required(&plan.predicate, key.id) else {
        return Vec::new();
    };
    let mut partitions: Vec<_> = values.into_iter().map(|value| partition_of(collection, value)).collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions
}

/// Values of a field of which every matching row has one, if the filter demands some.
fn required(predicate: &Predicate, field: FieldId) -> Option<Vec<PrimaryKeyRef<'_>>> {
    match predicate {
        Predicate::Compare { column, op: CompareOp::Equal, value }
            if column.field == field && column.path.is_empty() =>
        {
            match value {
                Literal::Int64(value) => Some(vec![PrimaryKeyRef::Int64(*value)]),
                Literal::VarChar(value) => Some(vec![PrimaryKeyRef::VarChar(value)]),
                _ => None,
            }
        }
        Predicate::In { column, values } if column.field == field && column.path.is_empty() => {
            let ints = values.ints.iter().map(|value| PrimaryKeyRef::Int64(*value));
            let strings = values.strings.iter().map(|value| PrimaryKeyRef::VarChar(value));
            // An empty list matches nothing; naming no partition would mean all of them.
            Some(ints.chain(strings).collect()).filter(|values: &Vec<_>| !values.is_empty())
        }
        Predicate::And(parts) => parts.iter().filter_map(|part| required(part, field)).min_by_key(Vec::len),
        Predicate::Or(parts) => {
            let lists: Option<Vec<_>> = parts.iter().map(|part| required(part, field)).collect();
            Some(lists?.into_iter().flatten().collect()).filter(|values: &Vec<_>| !values.is_empty())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use redkite_catalog::PartitionRecord;
    use redkite_query::PlanPurpose;
    use redkite_types::{DataType, FieldSchema, Timestamp};

    use super::*;
    use crate::read::plan_cache::PlanCache;
    use crate::testing;

    fn collection() -> CollectionRecord {
        let key = FieldSchema { primary_key: true, ..testing::field("id", DataType::Int64) };
        let tenant = FieldSchema { partition_key: true, ..testing::field("tenant", DataType::VarChar) };
        let mut collection = testing::with_fields([key, tenant]);
        collection.partitions = (0..16)
            .map(|n| PartitionRecord {
                id: PartitionId(n),
                name: format!("_default_{n}"),
                created_at: Timestamp::ZERO,
            })
            .collect();
        collection
    }

    fn pruned(filter: &str) -> Vec<PartitionId> {
        let collection = collection();
        let plan =
            PlanCache::default().plan(&collection, filter, HashMap::new(), PlanPurpose::Query).unwrap();
        prune(&collection, Some(&plan))
    }

    #[test]
    fn demands_on_the_key_choose_partitions() {
        let of = |value| partition_of(&collection(), PrimaryKeyRef::VarChar(value));
        assert_eq!(pruned("tenant == 'a' and id > 3"), [of("a")]);
        let mut both = vec![of("a"), of("b")];
        both.sort_unstable();
        both.dedup();
        assert_eq!(pruned("tenant in ['a', 'b']"), both);
        assert_eq!(pruned("tenant == 'a' or tenant == 'b'"), both);
    }

    #[test]
    fn other_filters_read_everything() {
        for filter in ["id > 3", "tenant == 'a' or id > 3", "tenant != 'a'", "tenant in []"] {
            assert!(pruned(filter).is_empty(), "{filter}");
        }
        assert!(prune(&collection(), None).is_empty());
    }
}
