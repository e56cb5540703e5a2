//! What the settings file says to each role.

use redkite_coordinator::DataSettings;
use redkite_query_node::QueryNodeSettings;
use redkite_runtime::units::Bytes;
use redkite_streaming_node::StreamingNodeSettings;

use crate::settings::Settings;

pub(crate) fn streaming_node(settings: &Settings) -> StreamingNodeSettings {
    let segment = &settings.data_coord.segment;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a size"
    )]
    let seal_bytes = Bytes((segment.max_size.0 as f64 * segment.seal_proportion) as u64);
    StreamingNodeSettings {
        seal_bytes,
        seal_idle: segment.max_idle_time,
        max_unsealed_bytes: settings.streaming_node.max_growing_size,
        ..StreamingNodeSettings::default()
    }
}

/// `sole_writer`: whether all files are written by this process.
pub(crate) fn data_coord(settings: &Settings, sole_writer: bool) -> DataSettings {
    let (segment, gc) = (&settings.data_coord.segment, &settings.data_coord.gc);
    let mut data = DataSettings::default();
    data.compaction.max_segment_bytes = segment.max_size;
    data.gc.interval = gc.interval;
    data.gc.missing_tolerance = gc.missing_tolerance;
    data.gc.drop_tolerance = gc.drop_tolerance;
    data.gc.sole_writer = sole_writer;
    data
}

pub(crate) fn query_node(settings: &Settings) -> QueryNodeSettings {
    QueryNodeSettings { memory_limit: settings.query_node.memory_limit.0, ..QueryNodeSettings::default() }
}

pub(crate) fn proxy(settings: &Settings) -> redkite_proxy::Settings {
    redkite_proxy::Settings {
        graceful_time: settings.common.graceful_time,
        ..redkite_proxy::Settings::default()
    }
}

/// Threads of a pool; 0 means one a core.
pub(crate) fn threads(setting: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if setting == 0 { cores() } else { setting }
}
