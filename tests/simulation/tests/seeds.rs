//! Many seeds, each a cluster with trouble of its own; one seed again with `REDKITE_SEED=…`, more with
//! `REDKITE_SEEDS=…`, what happens with `REDKITE_TRACE=1`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use redkite_simulation::run::run;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn set_up() -> bool {
    let shown = number("REDKITE_TRACE").is_some_and(|level| level > 0);
    if let Ok(filter) = std::env::var("RUST_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .without_time()
            .try_init();
    }
    shown
}

#[test]
fn clusters_get_over_trouble() {
    let shown = set_up();
    if let Some(seed) = number("REDKITE_SEED") {
        let report = run(seed, shown).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        eprintln!("seed {seed}: {report}");
        return;
    }
    let (first, seeds) = (number("REDKITE_FIRST_SEED").unwrap_or(1), number("REDKITE_SEEDS").unwrap_or(200));
    let next = AtomicU64::new(first);
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let played = std::panic::catch_unwind(|| run(seed, false));
                    let failure = match played {
                        Ok(Ok(report)) => {
                            eprintln!("seed {seed:>5}: {report}");
                            continue;
                        }
                        Ok(Err(error)) => format!("{error:?}"),
                        Err(_) => "panicked".to_owned(),
                    };
                    eprintln!("seed {seed} fails, again with REDKITE_SEED={seed}: {failure}");
                    failures.lock().unwrap().push(seed);
                }
            });
        }
    });
    eprintln!("{seeds} seeds in {:.0} s", began.elapsed().as_secs_f64());
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "seeds that fail: {failures:?}");
}

#[test]
fn a_seed_replays_exactly() {
    set_up();
    for seed in 1..=5 {
        let first = run(seed, false).map_err(|error| error.to_string());
        let second = run(seed, false).map_err(|error| error.to_string());
        assert_eq!(first, second, "seed {seed}");
    }
}
