//! Times of our queue and of the `virtio-queue` crate's, for the same rings.
#![expect(clippy::unwrap_used, reason = "a benchmark says so by ending")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sel4cp_bench::guest::{CASES, Rings};
use sel4cp_bench::queue::{Ours, Pair, Theirs, memory};
use std::hint::black_box;

fn queues(criterion: &mut Criterion) {
    for case in &CASES {
        let rings = Rings::new(case);
        let memory = memory(&rings).unwrap();
        let mut theirs = Theirs::new(&memory, &rings.config()).unwrap();
        let mut ours = Ours::new(rings).unwrap();
        let mut group = criterion.benchmark_group(case.name);
        group.throughput(Throughput::Elements(case.batch.into()));
        group.bench_function("ours", |bencher| {
            bencher.iter(|| ours.round(black_box(case.batch)).unwrap());
        });
        group.bench_function("virtio-queue", |bencher| {
            bencher.iter(|| theirs.round(black_box(case.batch)).unwrap());
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // What lies outside of the bulk is the neighbours: many samples, and no opinion on a change of less than 3 %.
    config = Criterion::default().sample_size(200).noise_threshold(0.03).without_plots();
    targets = queues
}
criterion_main!(benches);
