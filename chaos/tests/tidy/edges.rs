//! Which package may use which: `architecture.md` section 2, enforced on the manifests and on the judge's imports.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Finding, SourceFile, code_only};

struct Wall {
    package: &'static str,
    /// Packages of this repository that it may use.
    ours: &'static [&'static str],
    others: Others,
}

enum Others {
    /// Only these packages of other people, in the product.
    Only(&'static [&'static str]),
    /// None whose name begins so.
    Without(&'static [&'static str]),
}

const MACHINE: &str = "quorumfence-machine";
const PROTO: &str = "quorumfence-proto";
const STORAGE: &str = "quorumfence-storage";
const RAFT: &str = "quorumfence-raft";
const DRIVERS: &str = "quorumfence-drivers";
const NODE: &str = "quorumfence-node";
const CHAOS: &str = "quorumfence-chaos";

const WALLS: [Wall; 7] = [
    Wall { package: MACHINE, ours: &[], others: Others::Only(&["serde", "thiserror"]) },
    Wall { package: PROTO, ours: &[MACHINE], others: Others::Without(&["openraft", "rocksdb", "librocksdb"]) },
    Wall { package: STORAGE, ours: &[], others: Others::Without(&["tonic", "axum"]) },
    Wall { package: RAFT, ours: &[MACHINE, PROTO, STORAGE], others: Others::Without(&["axum", "virt", "ipmi"]) },
    Wall {
        package: DRIVERS,
        ours: &[MACHINE],
        others: Others::Without(&["openraft", "rocksdb", "librocksdb", "tonic"]),
    },
    Wall { package: NODE, ours: &[MACHINE, PROTO, RAFT, DRIVERS], others: Others::Without(&["rocksdb", "librocksdb"]) },
    Wall {
        package: CHAOS,
        ours: &[MACHINE, PROTO, STORAGE, RAFT, DRIVERS, NODE],
        others: Others::Without(&["rocksdb", "librocksdb"]),
    },
];

/// Folders whose files may not name these crates: the judge knows only public facts.
const JUDGE: [&str; 4] = ["chaos/src/invariants", "chaos/src/liveness", "chaos/src/history", "chaos/src/observation"];
const HIDDEN_FROM_THE_JUDGE: [&str; 3] = ["quorumfence_node", "quorumfence_raft", "quorumfence_storage"];

/// The witness may know the traits at the border, and none of the drivers that it testifies about.
const WITNESS: &str = "node/drivers/src/lab";
const HIDDEN_FROM_THE_WITNESS: [&str; 5] = [
    "crate::fencing::ipmi",
    "crate::fencing::sequence",
    "crate::hypervisor::libvirt",
    "crate::hypervisor::nova",
    "crate::watchdog::linux",
];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.ends_with("Cargo.toml") && file.path != "Cargo.toml") {
        findings.extend(manifest(file, &mut found));
    }
    for wall in WALLS.iter().filter(|wall| !found.contains(wall.package)) {
        findings.push(Finding { path: "Cargo.toml".into(), line: 0, what: format!("{} is missing", wall.package) });
    }
    findings.extend(files.iter().flat_map(imports));
    findings
}

fn manifest(file: &SourceFile, found: &mut BTreeSet<String>) -> Vec<Finding> {
    let table: toml::Table = file.text.parse().expect("cargo has read this manifest before");
    let package = table["package"]["name"].as_str().expect("a package has a name").to_string();
    found.insert(package.clone());
    let Some(wall) = WALLS.iter().find(|wall| wall.package == package) else {
        return vec![file.finding(0, format!("{package} has no wall; decide which packages it may use"))];
    };
    let mut findings = Vec::new();
    for (dependency, section) in dependencies(&table) {
        if dependency.starts_with("quorumfence-") {
            if !wall.ours.contains(&dependency.as_str()) {
                findings.push(file.finding(0, format!("{package} may not use {dependency}")));
            }
            continue;
        }
        let allowed = match &wall.others {
            Others::Only(names) => section == "dev-dependencies" || names.contains(&dependency.as_str()),
            Others::Without(prefixes) => !prefixes.iter().any(|prefix| dependency.starts_with(prefix)),
        };
        if !allowed {
            findings.push(file.finding(0, format!("{package} may not use {dependency}")));
        }
    }
    findings
}

/// Returns each dependency by its package's name, with the section that it stands in.
fn dependencies(manifest: &toml::Table) -> BTreeMap<String, &str> {
    const SECTIONS: [&str; 3] = ["dev-dependencies", "build-dependencies", "dependencies"];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    let mut all = BTreeMap::new();
    for table in std::iter::once(manifest).chain(targets) {
        for section in SECTIONS {
            for (key, value) in table.get(section).and_then(toml::Value::as_table).into_iter().flatten() {
                let renamed = value.get("package").and_then(toml::Value::as_str);
                all.insert(renamed.unwrap_or(key).to_string(), section);
            }
        }
    }
    all
}

fn imports(file: &SourceFile) -> Vec<Finding> {
    let hidden: &[&str] = if JUDGE.iter().any(|place| lies_in(&file.path, place)) {
        &HIDDEN_FROM_THE_JUDGE
    } else if lies_in(&file.path, WITNESS) {
        &HIDDEN_FROM_THE_WITNESS
    } else {
        return Vec::new();
    };
    let code = code_only(&file.text);
    let lines = code.lines().zip(1..);
    lines
        .flat_map(|(line, number)| {
            hidden.iter().filter(move |name| line.contains(**name)).map(move |name| (name, number))
        })
        .map(|(name, number)| file.finding(number, format!("{name} may not be named here")))
        .collect()
}

fn lies_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sample;

    fn check_manifest(text: &str, expect: &[&str]) {
        let findings = manifest(&sample("some/Cargo.toml", text), &mut BTreeSet::new());
        let found: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn a_forbidden_edge_between_our_packages_is_found() {
        let proto = "[package]\nname = \"quorumfence-proto\"\n[dependencies]\n";
        check_manifest(&format!("{proto}quorumfence-machine = {{ workspace = true }}\ntonic = \"1\""), &[]);
        check_manifest(
            &format!("{proto}short = {{ package = \"quorumfence-storage\", path = \"x\" }}"),
            &["quorumfence-proto may not use quorumfence-storage"],
        );
        check_manifest(
            "[package]\nname = \"quorumfence-storage\"\n[dev-dependencies]\nquorumfence-machine = \"1\"",
            &["quorumfence-storage may not use quorumfence-machine"],
        );
    }

    #[test]
    fn a_forbidden_foreign_package_is_found_in_every_section() {
        check_manifest(
            "[package]\nname = \"quorumfence-node\"\n[target.'cfg(unix)'.dependencies]\nrocksdb = \"1\"",
            &["quorumfence-node may not use rocksdb"],
        );
        check_manifest(
            "[package]\nname = \"quorumfence-proto\"\n[build-dependencies]\nopenraft-rt = \"1\"",
            &["quorumfence-proto may not use openraft-rt"],
        );
    }

    #[test]
    fn the_machine_uses_two_packages_and_its_tests_may_use_more() {
        let machine = "[package]\nname = \"quorumfence-machine\"\n";
        check_manifest(&format!("{machine}[dependencies]\nserde = \"1\"\nthiserror = \"1\""), &[]);
        check_manifest(&format!("{machine}[dev-dependencies]\nproptest = \"1\""), &[]);
        check_manifest(&format!("{machine}[dependencies]\nrand = \"1\""), &["quorumfence-machine may not use rand"]);
    }

    #[test]
    fn a_package_without_a_wall_is_found() {
        check_manifest(
            "[package]\nname = \"quorumfence-extra\"",
            &["quorumfence-extra has no wall; decide which packages it may use"],
        );
    }

    #[test]
    fn a_judge_that_looks_inside_is_found() {
        let text = "// quorumfence_node\nuse quorumfence_machine::State;\nuse quorumfence_raft::Handle;\n";
        for path in ["chaos/src/liveness.rs", "chaos/src/invariants/one_home.rs"] {
            let file = sample(path, text);
            assert_eq!(imports(&file), [file.finding(3, "quorumfence_raft may not be named here")]);
        }
        assert_eq!(imports(&sample("chaos/src/world/sim.rs", text)), []);
    }

    #[test]
    fn a_witness_that_uses_a_driver_is_found() {
        let text = "use crate::hypervisor::Hypervisor;\nuse crate::fencing::ipmi;\n";
        let file = sample("node/drivers/src/lab/bmc.rs", text);
        assert_eq!(imports(&file), [file.finding(2, "crate::fencing::ipmi may not be named here")]);
        assert_eq!(imports(&sample("node/drivers/src/laboratory.rs", text)), []);
    }
}
