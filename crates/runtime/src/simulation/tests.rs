use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::{CpuPool, Tasks, blocking, chance};

async fn beat(count: Arc<AtomicU32>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_process_pause_and_die_with_it() {
    let count = Arc::new(AtomicU32::new(0));
    let beats = || count.load(Ordering::Relaxed);
    run(1, async {
        let process = Process::start("a");
        process.enter(|| {
            let (outer, inner) = (Tasks::new("outer"), count.clone());
            outer.spawn("outer", |_| async move {
                Tasks::new("inner").spawn("inner", |_| beat(inner));
            });
        });
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert_eq!(beats(), 3);
        process.pause();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(beats(), 3);
        process.resume();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(beats(), 5, "the beat that was due, and one more");
        process.kill();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(beats(), 5);
        assert_eq!(Arc::strong_count(&count), 1, "its tasks are gone");
        Tasks::new("nobody's").spawn("left", |_| beat(count.clone()));
    })
    .await;
    assert_eq!(Arc::strong_count(&count), 1, "nothing outlives a simulation");
}

#[tokio::test(start_paused = true)]
async fn the_order_comes_from_the_seed() {
    async fn order(seed: u64) -> Vec<u32> {
        let order = Arc::new(Mutex::new(Vec::new()));
        run(seed, async {
            let start = tokio::sync::watch::Sender::new(());
            for number in 0..32 {
                let (order, mut start) = (order.clone(), start.subscribe());
                Tasks::new("test").spawn("racer", move |_| async move {
                    let _ = start.changed().await;
                    order.lock().push(number);
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            start.send_replace(());
            tokio::time::sleep(Duration::from_millis(1)).await;
        })
        .await;
        order.lock().clone()
    }
    let first = order(1).await;
    assert_eq!(first.len(), 32);
    assert_eq!(first, order(1).await);
    assert_ne!(first, order(2).await);
}

#[tokio::test]
async fn work_is_done_where_it_is_asked_for() {
    let here = std::thread::current().id();
    run(7, async {
        let pool = CpuPool::new("test", 4).unwrap();
        assert_eq!(pool.run(|| std::thread::current().id()).await.unwrap(), here);
        assert_eq!(blocking(|| std::thread::current().id()).await, here);
        let inside = pool.rayon().install(|| std::thread::current().id());
        assert_eq!((inside, pool.threads()), (here, 1));
        assert!(pool.run(|| panic!("on purpose")).await.is_err());
    })
    .await;
    assert_ne!(blocking(|| std::thread::current().id()).await, here);
}

#[tokio::test]
async fn chance_comes_from_the_seed() {
    let draw = |seed| run(seed, async { (chance::generator().next_u64(), chance::generator().next_u64()) });
    assert_eq!(draw(5).await, draw(5).await);
    assert_ne!(draw(5).await, draw(6).await);
    assert_ne!(draw(5).await.0, draw(5).await.1);
}
