//! Where does a search iterator go on, without losing or repeating hits of equal score?
//!
//! The client sends back the score of its last hit. Hits at exactly that score may be spread over two
//! pages; the proxy remembers, by the iterator's token, which keys it has returned at that score. A
//! proxy that does not remember goes on strictly behind it, as Milvus does.

use std::collections::{HashMap, HashSet, VecDeque};

use parking_lot::Mutex;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use redkite_query::reduce::SearchPart;
use redkite_service::RangeBounds;
use redkite_types::{Metric, PrimaryKey, Timestamp};

use super::search_params::Cursor;

/// Iterators remembered.
const REMEMBERED: usize = 4096;

/// The hits of an iterator's last page that share its last score.
#[derive(Clone, Debug, Default, PartialEq)]
struct Edge {
    bound: f32,
    keys: HashSet<PrimaryKey>,
}

/// The iterators this proxy has answered.
#[derive(Debug, Default)]
pub(crate) struct Iterators(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    edges: HashMap<String, Edge>,
    order: VecDeque<String>,
}

/// What is asked of the shards for one page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Page {
    /// Identity of the iterator.
    pub(crate) token: String,
    /// Hits to ask for: the batch, and those that will be dropped.
    pub(crate) limit: usize,
    /// Bounds on scores: the client's own, narrowed by the last score.
    pub(crate) range: Option<RangeBounds>,
    batch: usize,
    last_bound: Option<f32>,
    returned: HashSet<PrimaryKey>,
}

impl Iterators {
    /// The next page of an iterator; `seed` makes the token of a new one.
    pub(crate) fn page(
        &self,
        cursor: &Cursor,
        range: Option<RangeBounds>,
        metric: Metric,
        seed: Timestamp,
    ) -> Page {
        let token = cursor.token.clone().unwrap_or_else(|| new_token(seed));
        let Some(bound) = cursor.last_bound else {
            let (limit, returned) = (cursor.batch, HashSet::new());
            return Page { token, limit, range, batch: cursor.batch, last_bound: None, returned };
        };
        let edge = self.0.lock().edges.get(&token).filter(|edge| edge.bound == bound).cloned();
        let near = if edge.is_some() { bound } else { beyond(bound, metric) };
        let returned = edge.map(|edge| edge.keys).unwrap_or_default();
        Page {
            token,
            limit: cursor.batch + returned.len(),
            range: Some(narrowed(range, near, metric)),
            batch: cursor.batch,
            last_bound: Some(bound),
            returned,
        }
    }

    /// Drops hits that were returned before and what exceeds the batch, remembers the edge; the score
    /// from which the next page goes on.
    pub(crate) fn finish(&self, page: Page, part: SearchPart, metric: Metric) -> (SearchPart, f32) {
        let fresh = |hit: &usize| !page.returned.contains(&part.ids.get(*hit).to_owned());
        let kept: Vec<usize> = (0..part.len()).filter(fresh).take(page.batch).collect();
        let part = if kept.len() == part.len() { part } else { take(&part, &kept) };
        let Some(bound) = part.scores.last().copied() else {
            let nearest = if metric.larger_is_nearer() { f32::MAX } else { f32::MIN };
            return (part, page.last_bound.unwrap_or(nearest));
        };
        let mut keys: HashSet<_> = (0..part.len())
            .filter(|hit| part.scores[*hit] == bound)
            .map(|hit| part.ids.get(hit).to_owned())
            .collect();
        if page.last_bound == Some(bound) {
            keys.extend(page.returned);
        }
        self.remember(page.token, Edge { bound, keys });
        (part, bound)
    }

    fn remember(&self, token: String, edge: Edge) {
        let mut remembered = self.0.lock();
        if remembered.edges.insert(token.clone(), edge).is_none() {
            remembered.order.push_back(token);
        }
        if remembered.order.len() > REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.edges.remove(&oldest);
        }
    }
}

/// The nearest score that is farther than this one.
fn beyond(bound: f32, metric: Metric) -> f32 {
    if metric.larger_is_nearer() { bound.next_down() } else { bound.next_up() }
}

fn narrowed(range: Option<RangeBounds>, near: f32, metric: Metric) -> RangeBounds {
    let farthest = if metric.larger_is_nearer() { f32::NEG_INFINITY } else { f32::INFINITY };
    let radius = range.map_or(farthest, |range| range.radius);
    let near = match range.and_then(|range| range.range_filter) {
        None => near,
        Some(own) if metric.larger_is_nearer() => own.min(near),
        Some(own) => own.max(near),
    };
    RangeBounds { radius, range_filter: Some(near) }
}

/// The chosen hits of a search with one query.
fn take(part: &SearchPart, hits: &[usize]) -> SearchPart {
    let mut ids = match &part.ids {
        redkite_types::PrimaryKeys::Int64(_) => redkite_types::PrimaryKeys::Int64(Vec::new()),
        redkite_types::PrimaryKeys::VarChar(_) => {
            redkite_types::PrimaryKeys::VarChar(redkite_types::VarColumn::new())
        }
    };
    hits.iter().for_each(|hit| ids.push(part.ids.get(*hit)));
    SearchPart {
        nq: 1,
        topks: vec![u32::try_from(hits.len()).expect("no more hits than were asked for")],
        ids,
        scores: hits.iter().map(|hit| part.scores[*hit]).collect(),
        timestamps: hits.iter().map(|hit| part.timestamps[*hit]).collect(),
        columns: part.columns.iter().map(|column| column.take(hits)).collect(),
    }
}

/// A random UUID (version 4), drawn from a generator that is seeded with a unique timestamp.
fn new_token(seed: Timestamp) -> String {
    let mut bytes = [0; 16];
    StdRng::seed_from_u64(seed.0).fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use redkite_types::PrimaryKeys;

    use super::*;

    fn cursor(token: Option<&str>, batch: usize, last_bound: Option<f32>) -> Cursor {
        Cursor { token: token.map(str::to_owned), batch, last_bound }
    }

    fn part(hits: &[(i64, f32)]) -> SearchPart {
        SearchPart {
            nq: 1,
            topks: vec![u32::try_from(hits.len()).unwrap()],
            ids: PrimaryKeys::Int64(hits.iter().map(|hit| hit.0).collect()),
            scores: hits.iter().map(|hit| hit.1).collect(),
            timestamps: vec![Timestamp::ZERO; hits.len()],
            columns: Vec::new(),
        }
    }

    /// Answers a page from all hits, sorted best first, as shards do.
    fn search(all: &[(i64, f32)], page: &Page, metric: Metric) -> SearchPart {
        let inside = |score: f32| {
            page.range.is_none_or(|range| {
                let near = range.range_filter.unwrap();
                if metric.larger_is_nearer() {
                    score <= near && score > range.radius
                } else {
                    score >= near && score < range.radius
                }
            })
        };
        let hits: Vec<_> = all.iter().copied().filter(|hit| inside(hit.1)).take(page.limit).collect();
        part(&hits)
    }

    fn walk(all: &[(i64, f32)], metric: Metric, batch: usize) -> Vec<i64> {
        let iterators = Iterators::default();
        let (mut seen, mut token, mut bound) = (Vec::new(), None, None);
        loop {
            let page = iterators.page(&cursor(token.as_deref(), batch, bound), None, metric, Timestamp(1));
            token = Some(page.token.clone());
            let found = search(all, &page, metric);
            let (found, last) = iterators.finish(page, found, metric);
            if found.is_empty() {
                return seen;
            }
            assert!(found.len() <= batch);
            seen.extend(found.ids.iter().map(|key| match key {
                redkite_types::PrimaryKeyRef::Int64(key) => key,
                redkite_types::PrimaryKeyRef::VarChar(_) => unreachable!(),
            }));
            bound = Some(last);
        }
    }

    #[test]
    fn equal_scores_are_neither_lost_nor_repeated() {
        let far: Vec<_> = (0..10).map(|key| (key, if key < 2 { 0.5 } else { 1.0 })).collect();
        let near: Vec<_> = far.iter().map(|(key, score)| (*key, -score)).collect();
        for batch in 1..12 {
            assert_eq!(walk(&far, Metric::L2, batch), (0..10).collect::<Vec<_>>());
            assert_eq!(walk(&near, Metric::Ip, batch), (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_unknown_iterator_goes_on_strictly_behind() {
        let token = new_token(Timestamp(3));
        let page = |metric| {
            let own = RangeBounds { radius: 9.0, range_filter: None };
            Iterators::default().page(&cursor(Some(&token), 5, Some(1.0)), Some(own), metric, Timestamp(1))
        };
        let near = 1.0_f32.next_up();
        assert_eq!(page(Metric::L2).range, Some(RangeBounds { radius: 9.0, range_filter: Some(near) }));
        assert_eq!(page(Metric::Cosine).range.unwrap().range_filter, Some(1.0_f32.next_down()));
    }

    #[test]
    fn the_clients_own_bounds_stay() {
        let own = RangeBounds { radius: 9.0, range_filter: Some(2.0) };
        let page =
            Iterators::default().page(&cursor(None, 5, Some(1.0)), Some(own), Metric::L2, Timestamp(1));
        assert_eq!(page.range, Some(own));
    }

    #[test]
    fn an_empty_first_page_starts_at_the_nearest() {
        let iterators = Iterators::default();
        let page = iterators.page(&cursor(None, 5, None), None, Metric::L2, Timestamp(1));
        assert_eq!(iterators.finish(page, part(&[]), Metric::L2).1, f32::MIN);
    }

    #[test]
    fn tokens_are_uuids() {
        let token = new_token(Timestamp(7));
        assert_eq!(token.len(), 36);
        assert_eq!(token.as_bytes()[14], b'4');
        assert_ne!(token, new_token(Timestamp(8)));
    }
}
