//! Do dependencies point only downward?

use std::collections::BTreeMap;
use std::process::Command;

/// The crates, lowest layer first; crates of one layer do not depend on each other.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["proto", "runtime", "balance"],
    &["cluster"],
    &["catalog"],
    &["storage"],
    &["index", "wal"],
    &["query"],
    &["service"],
    &["segment", "rpc"],
    &["coordinator", "proxy", "streaming-node", "query-node", "data-node"],
    &["server"],
];

fn layer(package: &str) -> Option<usize> {
    let name = package.strip_prefix("redkite-")?;
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// Names of the workspace packages each workspace package depends on, apart from tests.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let needed = package["dependencies"].as_array().expect("dependencies").iter();
            let needed = needed.filter(|one| one["kind"] != "dev" && one["path"].is_string());
            (text(&package["name"]), needed.map(|one| text(&one["name"])).collect())
        })
        .collect()
}

#[test]
fn dependencies_point_only_downward() {
    let dependencies = dependencies();
    let mut wrong = Vec::new();
    for (package, needed) in dependencies.iter().filter(|(package, _)| layer(package).is_some()) {
        for dependency in needed {
            if layer(dependency) >= layer(package) {
                wrong.push(format!("{package} -> {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies that do not point downward: {wrong:?}");
}

#[test]
fn every_crate_has_its_layer() {
    let outside: Vec<_> = dependencies()
        .into_keys()
        .filter(|package| {
            layer(package).is_none()
                && !["redkite-tests", "redkite-test-bucket", "redkite-simulation", "redkite-bench"]
                    .contains(&package.as_str())
        })
        .collect();
    assert!(outside.is_empty(), "packages without a layer: {outside:?}");
}
