//! Every process is taken over, by a probe that starts as the process does, and tries to break out. What
//! it gets is in one table, crates/confine/attempts/escape.toml; the same attempts succeed outside.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;

use clawdbot_tests::escape::{
    Control, NO_NAMESPACE, Report, Scene, Surroundings, Table, columns, controls, run,
};
use clawdbot_tests::{Scratch, Start, runs_as_root, skip};

#[test]
fn nobody_gets_more_than_the_table_says_and_outside_everything_works() {
    let test = "escape";
    if runs_as_root() {
        return skip(
            test,
            "root's part is root_escape; processes refuse to be root",
        );
    }
    let scratch = Scratch::new();
    scratch.configure("{}");
    let product = Start::new().up(&scratch);
    let scene = Scene::new(&Surroundings {
        folder: scratch.path().join("scene"),
        state: scratch.state(),
        sibling: product.process("broker").0,
        sibling_address: 0,
        docker: None,
    });
    let table = Table::load().unwrap();
    let columns = columns();
    let found = run(&scene, &columns, |_| true);
    let free = controls(&scene, &table, &[Control::User, Control::Userns]);
    let free: BTreeMap<_, _> = free
        .into_iter()
        .filter(|(name, outcome)| {
            let none = outcome == NO_NAMESPACE;
            if none {
                skip(name, "this kernel gives an ordinary user no namespace; root_escape makes the control");
            }
            !none
        })
        .collect();
    for process in product.processes() {
        assert!(process.1.lives(), "{} did not survive", process.0);
    }
    let title = "Escape matrix: single-user mode, as an ordinary user";
    let mut report = Report::new(title, &table, &columns, &found, &free, |_| true);
    report.add_controls(&table, &free);
    report.check_levels(&found);
    report.check();
}
