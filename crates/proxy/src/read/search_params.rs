//! What does a search ask for, apart from its vectors and filter?

use redkite_proto::common::KeyValuePair;
use redkite_service::Error;

use super::index_params::IndexParams;
use super::key_values::{KeyValues, parse_bool, parse_int};
use super::window;
use crate::define::timezone;
use crate::refuse;

/// The parameters of a search, checked.
#[derive(Clone, Debug)]
pub(crate) struct SearchParams {
    /// Results per query, without the skipped ones.
    pub(crate) limit: usize,
    /// Best results that are skipped.
    pub(crate) offset: usize,
    /// Decimals of the scores in the response; negative leaves them alone.
    pub(crate) round_decimal: i32,
    /// The metric the client believes in.
    pub(crate) metric: Option<String>,
    /// The vector field.
    pub(crate) anns_field: Option<String>,
    /// The collection the client believes to search.
    pub(crate) collection: Option<i64>,
    /// Leave growing rows out.
    pub(crate) ignore_growing: bool,
    /// This is a page of an iterator of either kind.
    pub(crate) iterator: bool,
    /// The cursor of an iterator of the newer kind.
    pub(crate) cursor: Option<Cursor>,
    /// Parameters of index and metric.
    pub(crate) index: IndexParams,
}

/// Where an iterator of the newer kind stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cursor {
    /// Identity of the iterator; `None` asks for one.
    pub(crate) token: Option<String>,
    /// Results wanted now.
    pub(crate) batch: usize,
    /// Score of the last result so far.
    pub(crate) last_bound: Option<f32>,
}

/// Parameters for which there is no implementation. Ignoring them would change results silently.
const UNSUPPORTED: [(&str, &str); 5] = [
    ("group_by_field", "grouping search"),
    ("group_by_fields", "grouping search"),
    ("order_by_fields", "order by in search"),
    ("json_path", "grouping search by a JSON path"),
    ("time_fields", "time fields"),
];

impl SearchParams {
    /// Reads and checks parameters; `largest` is the largest `limit + offset` allowed.
    pub(crate) fn parse(pairs: &[KeyValuePair], largest: i64) -> Result<Self, Error> {
        let params = KeyValues(pairs);
        let iterator = matches!(params.get("iterator"), Some("True" | "true"));
        let limit = parse_limit(params, largest, iterator)?;
        let offset = parse_offset(params, largest)?;
        let total = limit + offset;
        window::check(total, largest)
            .map_err(|why| refuse::invalid(format_args!("offset+topk [{total}] is invalid, {why}")))?;
        let round_decimal = parse_round_decimal(params)?;
        let index = IndexParams::parse(params.get("params").unwrap_or_default())?;
        refuse_unsupported(params)?;
        check_hints(params, &index)?;
        params.get("timezone").map_or(Ok(()), timezone::check)?;
        if index.has_range_filter() && !index.has_radius() {
            let what = "range_filter requires radius to be set; \
                        range_filter alone is not a valid range search parameter";
            return Err(refuse::mismatch("range_filter", "", what));
        }
        let cursor = parse_cursor(params, iterator, offset, largest)
            .map_err(|why| refuse::invalid(format_args!("parse iterator v2 info failed: {why}")))?;
        Ok(Self {
            limit: window::count(limit),
            offset: window::count(offset),
            round_decimal,
            metric: params.given("metric_type").map(str::to_owned),
            anns_field: params.get("anns_field").filter(|name| !name.is_empty()).map(str::to_owned),
            collection: params.get("collection_id").and_then(parse_int).filter(|id| *id > 0),
            ignore_growing: window::ignore_growing(params)?,
            iterator,
            cursor,
            index,
        })
    }
}

fn parse_limit(params: KeyValues<'_>, largest: i64, iterator: bool) -> Result<i64, Error> {
    let text = params.get("topk").ok_or_else(|| refuse::missing("topk is required"))?;
    let limit = parse_int(text).ok_or_else(|| refuse::invalid(format_args!("topk [{text}] is invalid")))?;
    match window::check(limit, largest) {
        Ok(()) => Ok(limit),
        // An iterator asks for as much as it gets.
        Err(_) if iterator => Ok(largest),
        Err(why) => Err(refuse::invalid(format_args!("topk [{limit}] is invalid, {why}"))),
    }
}

fn parse_offset(params: KeyValues<'_>, largest: i64) -> Result<i64, Error> {
    let Some(text) = params.get("offset") else {
        return Ok(0);
    };
    let offset =
        parse_int(text).ok_or_else(|| refuse::invalid(format_args!("offset [{text}] is invalid")))?;
    if offset != 0 {
        window::check(offset, largest)
            .map_err(|why| refuse::invalid(format_args!("offset [{offset}] is invalid, {why}")))?;
    }
    Ok(offset)
}

fn parse_round_decimal(params: KeyValues<'_>) -> Result<i32, Error> {
    let Some(text) = params.get("round_decimal") else {
        return Ok(-1);
    };
    let decimals = parse_int(text).and_then(|decimals| i32::try_from(decimals).ok());
    decimals.filter(|decimals| (-1..=6).contains(decimals)).ok_or_else(|| {
        refuse::invalid(format_args!(
            "round_decimal [{text}] is invalid, should be -1 or an integer in range [0, 6]"
        ))
    })
}

fn refuse_unsupported(params: KeyValues<'_>) -> Result<(), Error> {
    match UNSUPPORTED.iter().find(|(key, _)| params.given(key).is_some()) {
        None => Ok(()),
        Some((_, what)) => Err(refuse::unsupported(what)),
    }
}

/// Hints change how, not what is found.
fn check_hints(params: KeyValues<'_>, index: &IndexParams) -> Result<(), Error> {
    match params.given("hints").or(index.text("hints")) {
        None | Some("" | "disable" | "iterative_filter") => Ok(()),
        Some(hints) => Err(refuse::invalid(format_args!("hints: {hints} not supported"))),
    }
}

fn parse_cursor(
    params: KeyValues<'_>,
    iterator: bool,
    offset: i64,
    largest: i64,
) -> Result<Option<Cursor>, Error> {
    if params.get("search_iter_v2").and_then(parse_bool) != Some(true) {
        return Ok(None);
    }
    if !iterator {
        return Err(refuse::missing("both iterator and search_iter_v2 must be set in the SDK"));
    }
    if offset > 0 {
        let what = "Setting an offset is not permitted when using a search iterator v2";
        return Err(refuse::mismatch("", "", what));
    }
    let token = params.given("search_iter_id");
    if token.is_some_and(|token| !is_token(token)) {
        return Err(refuse::invalid("invalid token format"));
    }
    let text =
        params.given("search_iter_batch_size").ok_or_else(|| refuse::missing("batch size is required"))?;
    let invalid = |why: &dyn std::fmt::Display| refuse::invalid(format_args!("batch size is invalid, {why}"));
    let batch = parse_int(text).ok_or_else(|| invalid(&text))?;
    window::check(batch, largest).map_err(|why| invalid(&why))?;
    let last_bound =
        match params.given("search_iter_last_bound") {
            None => None,
            Some(text) => Some(text.parse().map_err(|source| {
                refuse::invalid(format_args!("failed to parse input last bound, {source}"))
            })?),
        };
    Ok(Some(Cursor { token: token.map(str::to_owned), batch: window::count(batch), last_bound }))
}

/// Tokens are UUIDs.
fn is_token(text: &str) -> bool {
    let groups = [8, 4, 4, 4, 12];
    text.len() == 36
        && text.split('-').zip(groups).all(|(group, length)| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
        && text.split('-').count() == groups.len()
}

#[cfg(test)]
#[path = "search_params_tests.rs"]
mod tests;
