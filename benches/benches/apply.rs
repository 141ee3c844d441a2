//! How long it takes to apply each operation, over a map in memory: 64 directories of 512 files,
//! three levels deep. What an operation needs is made before the clock runs.

#![expect(
    missing_docs,
    reason = "the macro of criterion makes a public function"
)]

use std::cell::RefCell;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mfsha_benches::operations;
use mfsha_benches::stage::Stage;

fn apply(criterion: &mut Criterion) {
    let whole = Stage::whole();
    let mut group = criterion.benchmark_group("apply");
    for case in operations::all() {
        // A tree of its own each, so that one operation's leftovers do not slow the next.
        let stage = RefCell::new(whole.copy());
        group.bench_function(case.name, |bencher| {
            bencher.iter_batched_ref(
                || case.prepare(&mut stage.borrow_mut()),
                |command| case.run(&mut stage.borrow_mut(), command),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
