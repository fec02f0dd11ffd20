//! Times of our ring and of the `rtrb` crate's.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark says so by ending"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sel4cp_bench::ring::{CASES, Ends, MOST, Ours, Theirs};
use sel4cp_ring::request::Entry;
use std::hint::black_box;

fn rings(criterion: &mut Criterion) {
    for (name, count) in CASES {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(count as u64));
        let (from, mut to) = ([Entry::default(); MOST], [Entry::default(); MOST]);
        let mut run = |side: &str, ends: &mut dyn Ends| {
            group.bench_function(side, |bencher| {
                bencher.iter(|| {
                    ends.pass(black_box(&from[..count]), &mut to[..count])
                        .unwrap()
                });
            });
        };
        run("ours", &mut Ours::new().unwrap());
        run("rtrb", &mut Theirs::new());
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(200).noise_threshold(0.03).without_plots();
    targets = rings
}
criterion_main!(benches);
