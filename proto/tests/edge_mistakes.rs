//! What is wrong in the table of edges ends the build with file, line and remedy. The build's own code is
//! called on texts, each with one mistake, and on the same text without it.

#[path = "../build/edges.rs"]
mod edges;

use std::collections::BTreeSet;

const TABLE: &str = r#"[[process]]
role = "gateway"
binary = "clawdbot-gateway"
starts = "always"
job = "j"
holds = "h"
network = "n"

[[process]]
role = "model-NAME"
binary = "clawdbot-model"
starts = "plan"
job = "j"
holds = "h"
network = "n"

[[edge]]
client = "gateway"
server = "model-*"
carries = "grpc"
methods = [
  { name = "Model.Generate", max = 1024, rate = 10, retry = "no" },
]
"#;

/// In each line a replacement in the table, the line of the mistake and what is said about it.
const MISTAKES: &str = r#"client = "gateway" => client = "gatway" => 18 => unknown role "gatway"; the nearest known one is "gateway"
client = "gateway" => client = "gateway-*" => 18 => unknown role "gateway-*"
server = "model-*" => server = "model*" => 19 => unknown role "model*"; the nearest known one is
server = "model-*" => server = "*" => 19 => unknown role "*"
starts = "plan" => starts = "plans" => 12 => unknown way to start "plans"; the nearest known one is "plan"
carries = "grpc" => carries = "http" => 20 => unknown carrier "http"; the nearest known one is "grpc"
Model.Generate => Model.Generte => 22 => unknown method "Model.Generte"; the nearest known one is "Model.Generate"
"no" => "never" => 22 => unknown retry "never"
max = 1024 => max = 0 => 22 => this must be above zero
rate = 10 => rate = 0 => 22 => this must be above zero
rate = 10 => rate = -1 => 22 => invalid value
rate = 10, => rate = 10, burst = 1, => 22 => unknown field `burst`
role = "model-NAME" => role = "gateway" => 10 => "gateway" stands there twice
[[edge]] => [[edges]] => 17 => unknown field `edges`
"#;

fn said(text: &str) -> Result<(), String> {
    let known = BTreeSet::from(["Model.Generate".to_owned()]);
    let tables = edges::tables(text, &known, &known)?;
    assert!(tables.contains("/clawdbot.v1.Model/Generate"));
    Ok(())
}

#[test]
fn a_mistake_in_the_table_is_named_with_its_line() {
    assert_eq!(said(TABLE), Ok(()));
    let mut unexpected = Vec::new();
    for row in MISTAKES.lines() {
        let parts: Vec<&str> = row.split(" => ").collect();
        let [old, new, line, message] = parts[..] else {
            panic!("{row}");
        };
        assert!(TABLE.contains(old), "{row}");
        let said = said(&TABLE.replacen(old, new, 1)).expect_err(row);
        let place = format!("proto/edges.toml:{line}: ");
        if !said.starts_with(&place) || !said.contains(message) {
            unexpected.push(format!("{row}\n  {said}"));
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

#[test]
fn rows_that_stand_there_twice_are_a_mistake() {
    let (_, edge) = TABLE.split_once("[[edge]]").unwrap();
    let twice = said(&format!("{TABLE}[[edge]]{edge}")).unwrap_err();
    assert_eq!(twice, "proto/edges.toml:25: \"gateway\" stands there twice");
    let method = TABLE
        .lines()
        .find(|line| line.contains("Generate"))
        .unwrap();
    let twice = said(&TABLE.replacen(method, &format!("{method}\n{method}"), 1)).unwrap_err();
    assert_eq!(
        twice,
        "proto/edges.toml:23: \"Model.Generate\" stands there twice"
    );
}

#[test]
fn a_method_that_nobody_may_call_is_a_mistake() {
    let known = ["Model.Generate", "Model.Forget"].map(str::to_owned);
    let error = edges::tables(TABLE, &BTreeSet::from(known), &BTreeSet::new()).unwrap_err();
    assert!(error.contains("nobody may call Model.Forget"), "{error}");
}
