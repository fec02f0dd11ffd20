//! What a guest's accesses cost in exits and switches: counted, so that no neighbour disturbs it, and the same on both kernels.

use sel4cp_tests::Iperf;
use xtask::assemble::{self, Options};
use xtask::bench::Plan;
use xtask::bench::count::Counts;
use xtask::bench::row::Row;
use xtask::repo::Repo;

/// A read comes from a page that the guest has; a write goes to the VMM and back: one exit, two switches, and the VMM's answer with its wait.
const EXPECTED: [(&str, &str, f64); 5] = [
    ("register-read", "exits/access", 0.0),
    ("register-read", "switches/access", 0.0),
    ("register-write", "exits/access", 1.0),
    ("register-write", "switches/access", 2.0),
    ("register-write", "calls by PDs/access", 2.0),
];
/// For whatever else happens in the meantime: timers.
const TOLERANCE: f64 = 0.1;

#[test]
fn a_register_read_costs_no_exit_and_a_write_costs_one() {
    let (repo, server) = (Repo::find().unwrap(), Iperf::start().unwrap());
    let plan = Plan {
        system: assemble::find(&repo, None).unwrap(),
        options: Options::from_environment(),
        rows: ["register-read", "register-write"]
            .map(|name| Row::named(name).unwrap())
            .to_vec(),
        seconds: 1,
    };
    let counts = Counts::measure(&repo, &plan, &server, 1, true).unwrap();
    println!("{}", counts.text());
    let figures = counts.json();
    for (name, unit, expected) in EXPECTED {
        let figure = figures
            .iter()
            .find(|figure| figure["name"] == name && figure["unit"] == unit);
        let ours = figure.and_then(|figure| figure["ours"].as_f64()).unwrap();
        assert!(
            (ours - expected).abs() < TOLERANCE,
            "{name}: {ours} {unit}, expected {expected}"
        );
    }
}
