//! Results for people and for programs.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::measure::Results;

/// A table in Markdown.
pub(crate) fn markdown(name: &str, results: &Results) -> String {
    let mut text = format!("### {name}: {} rows of {} dimensions\n\n", results.rows, results.dim);
    if let Some(fill) = &results.fill {
        let _ = writeln!(
            text,
            "insert {:.0} rows/s, flush {:.2} s, index {:.2} s, load {:.2} s",
            fill.insert_rows_per_s, fill.flush_s, fill.index_s, fill.load_s
        );
    }
    if let Some(memory) = results.memory_mb {
        let _ = writeln!(text, "resident memory when loaded: {memory} MB");
    }
    if let Some(fresh) = &results.fresh {
        let _ = writeln!(
            text,
            "insert one row, then strong search: p50 {:.2} ms, p99 {:.2} ms",
            fresh.p50, fresh.p99
        );
    }
    if let Some(restart) = &results.restart {
        let _ = writeln!(
            text,
            "kill -9 and start: first search answered after {:.2} s, recall of those after it {:.4}",
            restart.first_search_s, restart.recall
        );
    }
    text.push_str("\n| rows passing | ef | recall@10 | clients | queries/s | p50 ms | p99 ms |\n|---|---|---|---|---|---|---|\n");
    for run in &results.searches {
        let _ = writeln!(
            text,
            "| {} % | {} | {:.4} | {} | {:.0} | {:.2} | {:.2} |",
            run.selectivity, run.ef, run.recall, run.clients, run.qps, run.latency.p50, run.latency.p99
        );
    }
    text.push('\n');
    text
}

/// One line of JSON at the end of a file.
pub(crate) fn append_json(path: &Path, name: &str, results: &Results) -> anyhow::Result<()> {
    let line = serde_json::json!({ "server": name, "results": results });
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{line}")?;
    Ok(())
}
