//! Do the values make sense?
//!
//! Types are checked value by value as they come; here is what a type does not say.

use tracing::level_filters::LevelFilter;

use super::Settings;

/// A key whose value cannot be used, and why.
pub(super) type Flaw = (&'static str, &'static str);

/// The first value that cannot be used.
pub(super) fn flaw(settings: &Settings) -> Option<Flaw> {
    let (grpc, segment, gc) = (&settings.proxy.grpc, &settings.data_coord.segment, &settings.data_coord.gc);
    let rpc = &settings.common.rpc;
    let balancing = &settings.query_coord.balancing;
    let planning = &balancing.planning;
    let positive = [
        ("proxy.grpc.serverMaxRecvSize", grpc.server_max_recv_size.0),
        ("proxy.grpc.serverMaxSendSize", grpc.server_max_send_size.0),
        ("dataCoord.segment.maxSize", segment.max_size.0),
        ("streamingNode.logFileSize", settings.streaming_node.log_file_size.0),
        ("streamingNode.maxGrowingSize", settings.streaming_node.max_growing_size.0),
        ("queryCoord.balanceIntervalSeconds", planning.balance_interval_seconds),
        ("queryCoord.movesPerNode", u64::from(balancing.moves_per_node)),
        ("queryCoord.moveBandwidthPerNode", balancing.move_bandwidth_per_node.0),
        ("common.rpc.maxMessage", rpc.max_message.0),
        ("common.rpc.connections", rpc.connections as u64),
    ];
    if let Some((key, _)) = positive.into_iter().find(|(_, size)| *size == 0) {
        return Some((key, "must be larger than 0"));
    }
    if !(segment.seal_proportion > 0.0 && segment.seal_proportion <= 1.0) {
        return Some(("dataCoord.segment.sealProportion", "must be larger than 0 and at most 1"));
    }
    let percentages = [
        ("queryCoord.overloadedMemoryThresholdPercentage", planning.overloaded_memory_threshold_percentage),
        ("queryCoord.memoryUsageMaxDifferencePercentage", planning.memory_usage_max_difference_percentage),
        ("queryCoord.cpuUsageMaxDifferencePercentage", planning.cpu_usage_max_difference_percentage),
        ("queryCoord.balanceGoalPercentage", planning.balance_goal_percentage),
        ("queryCoord.cpuBalanceGoalPercentage", planning.cpu_balance_goal_percentage),
        ("queryCoord.minimumGainPercentage", planning.minimum_gain_percentage),
    ];
    if let Some((key, _)) = percentages.into_iter().find(|(_, value)| !(1..=100).contains(value)) {
        return Some((key, "must be 1 to 100"));
    }
    let waits = [
        ("dataCoord.segment.maxIdleTime", segment.max_idle_time),
        ("dataCoord.gc.interval", gc.interval),
        ("common.rpc.connectTimeout", rpc.connect_timeout),
        ("common.rpc.readTimeout", rpc.read_timeout),
        ("common.rpc.writeTimeout", rpc.write_timeout),
        ("common.rpc.commandTimeout", rpc.command_timeout),
        ("common.rpc.pingInterval", rpc.ping_interval),
        ("common.rpc.pingTimeout", rpc.ping_timeout),
    ];
    if let Some((key, _)) = waits.into_iter().find(|(_, time)| time.is_zero()) {
        return Some((key, "must be larger than 0"));
    }
    if !settings.log.level.split(',').all(is_directive) {
        return Some((
            "log.level",
            "must be trace, debug, info, warn, error or off, or a filter such as info,redkite_wal=debug",
        ));
    }
    match settings.log.format.as_str() {
        "text" | "json" => None,
        _ => Some(("log.format", "must be text or json")),
    }
}

/// A level, or a target and its level. The log itself takes a misspelt level for a target.
fn is_directive(text: &str) -> bool {
    let level =
        text.split_once('=').map_or(text, |(target, level)| if target.is_empty() { "" } else { level });
    let is_name = level.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_name && !level.is_empty() && level.parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(flaw(&Settings::default()), None);
    }

    #[test]
    fn levels_are_levels() {
        for level in ["trace", "INFO", "off", "info,redkite_wal=debug"] {
            assert!(level.split(',').all(is_directive), "{level}");
        }
        for level in ["", "verbose", "info,", "redkite_wal", "=info", "redkite_wal=loud", "3"] {
            assert!(!level.split(',').all(is_directive), "{level}");
        }
    }
}
