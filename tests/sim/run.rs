//! One seed, from its first step to its verdict; and many of them.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    coverage::{Coverage, Seen},
    defects::Plan,
    ledger::{Broken, lock},
    panics,
    world::{End, World},
};

/// What became of one seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) steps: u64,
    /// A hash of everything that happened.
    pub(crate) trace: u64,
    pub(crate) coverage: Coverage,
    pub(crate) broken: Option<Broken>,
}

/// Runs one seed.
pub(crate) fn run(seed: u64, steps: u64, plan: Plan) -> Outcome {
    panics::watch(true);
    plan.switch_on();
    let mut world = World::new(seed, steps, plan);
    lock(&world.ledger).is_loud = std::env::var_os("WAYPOST_SIM_LOG").is_some();
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let end = runtime.block_on(world.live());
        drop(runtime);
        if end == End::Over || world.broken().is_some() {
            break;
        }
    }
    Plan::None.switch_on();
    panics::watch(false);
    let counts = world.faults.counts();
    let mut ledger = lock(&world.ledger);
    for (seen, count) in [
        (Seen::CommitUnknown, counts.lost + counts.done),
        (Seen::StoreFull, counts.full),
        (Seen::StoreSlow, counts.slow),
        (Seen::StoreShort, counts.short),
    ] {
        ledger.coverage.add(seen, count);
    }
    Outcome { steps: world.step, trace: ledger.trace_hash(), coverage: ledger.coverage.clone(), broken: ledger.broken.take() }
}

/// Runs seeds on as many threads as there are processors, up to the first that breaks a promise. Gives what all went through together.
pub(crate) fn run_many(seeds: std::ops::Range<u64>, steps: u64) -> Result<Coverage, (u64, Outcome)> {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(None));
    let total = Mutex::new(Coverage::default());
    let work = || {
        while failed.lock().expect("no panic").is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(seed, steps, Plan::None);
            total.lock().expect("no panic").merge(&outcome.coverage);
            if outcome.broken.is_some() {
                failed.lock().expect("no panic").get_or_insert((seed, outcome));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    match failed.into_inner().expect("no panic") {
        Some(failure) => Err(failure),
        None => Ok(total.into_inner().expect("no panic")),
    }
}
