//! Bounds for all processes of a kind together, and for all of them.

use crate::Generated;
use crate::unit::Unit;

struct Slice {
    /// What follows `clawdbot` in its name; each `-` is a level.
    name: &'static str,
    what: &'static str,
    memory: &'static str,
    tasks: u32,
    /// Share of the processor where it is scarce; others have 100.
    weight: u32,
}

const fn slice(
    name: &'static str,
    what: &'static str,
    memory: &'static str,
    tasks: u32,
    weight: u32,
) -> Slice {
    Slice {
        name,
        what,
        memory,
        tasks,
        weight,
    }
}

const SLICES: &[Slice] = &[
    slice("", "all of it", "80%", 1024, 100),
    slice("-policy", "policy", "256M", 32, 200),
    slice("-broker", "broker", "128M", 32, 200),
    slice("-dialer", "dialer", "128M", 32, 100),
    slice("-gateway", "gateway", "512M", 64, 200),
    slice("-executor", "executor", "256M", 64, 100),
    slice("-agent", "agents of both classes", "2G", 128, 100),
    slice("-model", "model workers", "1G", 256, 100),
    slice("-channel", "channels", "2G", 256, 100),
    slice("-journal", "readers of the log", "256M", 32, 20),
    slice("-sandbox", "tool calls", "4G", 512, 20),
    slice("-sandbox-main", "the owner's tool calls", "2G", 512, 100),
    slice("-sandbox-guest", "guests' tool calls", "2G", 256, 50),
];

pub(crate) fn files() -> Vec<Generated> {
    let file = |slice: &Slice| {
        let unit = Unit::new()
            .section("Unit")
            .set("Description", format!("Clawdbot: {}", slice.what))
            .section("Slice")
            .set("MemoryMax", slice.memory)
            .set("TasksMax", slice.tasks.to_string())
            .set("CPUWeight", slice.weight.to_string());
        Generated::system(format!("clawdbot{}.slice", slice.name), unit.text())
    };
    SLICES.iter().map(file).collect()
}
