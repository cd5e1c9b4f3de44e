//! `clawdbot-escape`: makes the attempts as the user who runs it, for the test that root runs. Prints one
//! line for each outcome.

#[cfg(target_os = "linux")]
fn main() {
    use clawdbot_tests::escape::{
        Control, NO_NAMESPACE, Scene, Surroundings, Table, columns, controls, run,
    };

    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, state, sibling, address, docker] = words.as_slice() else {
        panic!("escape FOLDER STATE SIBLING ADDRESS DOCKER");
    };
    let scene = Scene::new(&Surroundings {
        folder: folder.into(),
        state: state.into(),
        sibling: sibling.parse().unwrap(),
        sibling_address: address.parse().unwrap(),
        docker: Some(docker.into()),
    });
    let found = run(&scene, &columns(), |_| true);
    println!("starts {}", found.starts);
    for (column, level) in &found.levels {
        println!("level {} {level}", column.key);
    }
    for ((column, name), outcome) in &found.outcomes {
        println!("cell {} {name} {outcome}", column.key);
    }
    let free = controls(
        &scene,
        &Table::load().unwrap(),
        &[Control::User, Control::Userns],
    );
    for (name, outcome) in free.iter().filter(|(_, outcome)| *outcome != NO_NAMESPACE) {
        println!("control {name} {outcome}");
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
