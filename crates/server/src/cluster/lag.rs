//! How far is this process's copy of the records behind the metastore?

use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::MetadataView;
use redkite_cluster::Kv;
use redkite_cluster::kv::Txn;
use redkite_runtime::Stopping;
use redkite_service::Lag;
use tokio::time::{Instant, timeout};

use super::tenure::Tenure;

/// Pause between measurements for the metrics.
const PAUSE: Duration = Duration::from_secs(5);
/// A copy that is further behind is told as that far behind.
const LONGEST: Duration = Duration::from_secs(1);

/// Measures once: asks the metastore for its revision, and waits until the copy shows it. `None` if the
/// metastore does not answer.
pub(super) async fn measure(kv: &dyn Kv, view: &MetadataView) -> Option<Lag> {
    let now = timeout(LONGEST, kv.txn(Txn::new())).await.ok()?.ok()?.revision;
    let began = Instant::now();
    let behind = now.0.saturating_sub(view.revision().0);
    // Late is late: the time is told anyway.
    let _ = timeout(LONGEST, view.wait_for(now)).await;
    Some(Lag {
        revisions: u64::try_from(behind).unwrap_or(0),
        millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Shows the lag of standbys in the metrics.
pub(super) async fn watch(
    kv: Arc<dyn Kv>,
    view: MetadataView,
    tenures: Vec<Arc<Tenure>>,
    stopping: Stopping,
) {
    loop {
        let began = Instant::now();
        let measured = measure(&*kv, &view).await;
        // A metastore that does not answer leaves the copy behind for at least as long as it was asked.
        let seconds = measured.map_or(began.elapsed(), |lag| Duration::from_millis(lag.millis)).as_secs_f64();
        for tenure in &tenures {
            let role = tenure.role().name();
            metrics::gauge!("redkite_coordinator_standby_lag_seconds", "role" => role).set(seconds);
        }
        if stopping.race(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}
