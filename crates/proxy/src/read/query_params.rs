//! What does a query ask for, apart from its filter?

use redkite_proto::common::KeyValuePair;
use redkite_service::Error;

use super::key_values::{KeyValues, parse_bool, parse_int};
use super::window;
use crate::define::timezone;
use crate::refuse;

/// The parameters of a query, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryParams {
    /// Most rows returned; `None` for all.
    pub(crate) limit: Option<usize>,
    /// Rows skipped.
    pub(crate) offset: usize,
    /// The collection the client believes to query.
    pub(crate) collection: Option<i64>,
    /// Leave growing rows out.
    pub(crate) ignore_growing: bool,
    /// This is a page of an iterator.
    pub(crate) iterator: bool,
}

/// Parameters for which there is no implementation. Ignoring them would change results silently.
const UNSUPPORTED: [(&str, &str); 4] = [
    ("group_by_fields", "group by in query"),
    ("order_by_fields", "order by in query"),
    ("query_iter_last_element_offset", "iterators over elements"),
    ("time_fields", "time fields"),
];

impl QueryParams {
    /// Reads and checks parameters; `largest` is the largest `limit + offset` allowed.
    pub(crate) fn parse(pairs: &[KeyValuePair], largest: i64) -> Result<Self, Error> {
        let params = KeyValues(pairs);
        flag(params, "reduce_stop_for_best", "value for reduce_stop_for_best is invalid")?;
        let iterator = flag(params, "iterator", "value for iterator field is invalid")?;
        let collection = match params.get("collection_id") {
            None => None,
            Some(text) => Some(parse_int(text).ok_or_else(|| {
                let what = "value for collection id is invalid";
                refuse::mismatch("int value for collection_id", "collection_id", what)
            })?),
        };
        let (limit, offset) = parse_window(params, largest)?;
        check_cursor(params, iterator)?;
        params.get("timezone").filter(|zone| !zone.is_empty()).map_or(Ok(()), timezone::check)?;
        if let Some((_, what)) = UNSUPPORTED.iter().find(|(key, _)| params.given(key).is_some()) {
            return Err(refuse::unsupported(what));
        }
        Ok(Self {
            limit,
            offset,
            collection: collection.filter(|id| *id > 0),
            ignore_growing: window::ignore_growing(params)?,
            iterator,
        })
    }

    /// Rows wanted from each shard.
    pub(crate) fn rows_per_shard(&self) -> Option<usize> {
        self.limit.map(|limit| limit + self.offset)
    }
}

fn flag(params: KeyValues<'_>, key: &str, what: &str) -> Result<bool, Error> {
    let Some(text) = params.get(key) else {
        return Ok(false);
    };
    parse_bool(text).ok_or_else(|| refuse::mismatch("true or false", text, what))
}

/// The cursor of an iterator over elements has two parts; alone each means nothing.
fn check_cursor(params: KeyValues<'_>, iterator: bool) -> Result<(), Error> {
    let (key, offset) = ("query_iter_last_pk", "query_iter_last_element_offset");
    let (has_key, has_offset) = (params.get(key).is_some(), params.get(offset).is_some());
    if (has_key || has_offset) && !iterator {
        return Err(refuse::invalid(format_args!(
            "invalid query iterator cursor params: {key} and {offset} can only be used when iterator=true"
        )));
    }
    if has_key != has_offset {
        return Err(refuse::invalid(format_args!(
            "incomplete query iterator cursor params: {key} and {offset} must be provided together, \
             has_last_pk={has_key}, has_last_element_offset={has_offset}"
        )));
    }
    Ok(())
}

/// An offset counts only together with a limit.
fn parse_window(params: KeyValues<'_>, largest: i64) -> Result<(Option<usize>, usize), Error> {
    let number = |key: &str, text: &str| {
        parse_int(text).ok_or_else(|| refuse::invalid(format_args!("{key} [{text}] is invalid")))
    };
    let Some(limit) = params.get("limit") else {
        return Ok((None, 0));
    };
    let limit = number("limit", limit)?;
    let offset = params.get("offset").map_or(Ok(0), |text| number("offset", text))?;
    check_window(limit, offset, largest)
        .map_err(|why| refuse::invalid(format_args!("invalid max query result window, {why}")))?;
    Ok((Some(window::count(limit)), window::count(offset)))
}

fn check_window(limit: i64, offset: i64, largest: i64) -> Result<(), Error> {
    if offset < 0 {
        return Err(refuse::invalid(format_args!("offset [{offset}] is invalid, should be gte than 0")));
    }
    if limit <= 0 {
        return Err(refuse::invalid(format_args!("limit [{limit}] is invalid, should be greater than 0")));
    }
    let depth = limit.saturating_add(offset);
    if depth > largest {
        return Err(refuse::invalid(format_args!(
            "(offset+limit) should be in range [1, {largest}], but got {depth}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<QueryParams, Error> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| KeyValuePair { key: (*key).to_owned(), value: (*value).to_owned() })
            .collect();
        QueryParams::parse(&pairs, 16_384)
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        parse(pairs).unwrap_err().to_string()
    }

    #[test]
    fn an_offset_needs_a_limit() {
        let params = parse(&[("limit", "10"), ("offset", "5"), ("ignore_growing", "False")]).unwrap();
        assert_eq!((params.limit, params.offset, params.rows_per_shard()), (Some(10), 5, Some(15)));
        let params = parse(&[("offset", "5")]).unwrap();
        assert_eq!((params.limit, params.offset, params.rows_per_shard()), (None, 0, None));
    }

    #[test]
    fn iterators_name_their_collection() {
        let params =
            parse(&[("iterator", "True"), ("reduce_stop_for_best", "True"), ("collection_id", "42")])
                .unwrap();
        assert!(params.iterator);
        assert_eq!(params.collection, Some(42));
    }

    #[test]
    fn refusals_are_in_milvus_words() {
        assert!(
            refusal(&[("limit", "10"), ("offset", "-1")])
                .starts_with("invalid max query result window, offset [-1] is invalid, should be gte than 0")
        );
        assert!(
            refusal(&[("limit", "0")]).starts_with(
                "invalid max query result window, limit [0] is invalid, should be greater than 0"
            )
        );
        assert!(refusal(&[("limit", "16384"), ("offset", "1")]).starts_with(
            "invalid max query result window, (offset+limit) should be in range [1, 16384], but got 16385"
        ));
        assert!(refusal(&[("limit", "x")]).starts_with("limit [x] is invalid"));
        assert!(refusal(&[("iterator", "maybe")]).starts_with("value for iterator field is invalid"));
        assert!(
            refusal(&[("timezone", "Asia/Nowhere")])
                .starts_with("unknown or invalid IANA Time Zone ID: Asia/Nowhere")
        );
        assert!(parse(&[("timezone", "US/Pacific")]).is_ok());
        assert!(
            refusal(&[("query_iter_last_pk", "7")])
                .starts_with("invalid query iterator cursor params: query_iter_last_pk and")
        );
        assert!(refusal(&[("iterator", "True"), ("query_iter_last_pk", "7")]).ends_with(
            "must be provided together, has_last_pk=true, has_last_element_offset=false: invalid parameter"
        ));
        assert!(refusal(&[("order_by_fields", "a:asc")]).starts_with("operation not supported"));
    }
}
