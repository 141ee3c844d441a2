//! How long it takes to answer questions, over the same tree in memory as `apply`.

#![expect(
    missing_docs,
    reason = "the macro of criterion makes a public function"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use mfsha_benches::questions;
use mfsha_benches::stage::Stage;

fn query(criterion: &mut Criterion) {
    let whole = Stage::whole();
    let mut group = criterion.benchmark_group("query");
    for question in questions::all() {
        let mut stage = whole.copy();
        let queries = question.prepare(&mut stage);
        let mut turn = 0;
        group.bench_function(question.name, |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % queries.len();
                question.ask(&stage, &queries[turn])
            });
        });
    }
    group.finish();
}

criterion_group!(benches, query);
criterion_main!(benches);
