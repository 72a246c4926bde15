use std::collections::BTreeMap;

use super::*;

fn sight() -> Sight {
    let name = |number: u64| format!("host{number}").parse().unwrap();
    let controllers: Vec<ControllerId> = (1..=3).map(ControllerId).collect();
    Sight {
        leader: Some(ControllerId(2)),
        running: controllers.clone(),
        controllers,
        hosts: (1..=5).map(name).collect(),
        off: BTreeSet::new(),
        fenced: vec![name(4)],
        permitted: Vec::new(),
        targets: Vec::new(),
        up: (1..=3).map(name).collect(),
        homes: vec![("vm1a".into(), name(1)), ("vm4a".into(), name(4))],
    }
}

fn faults(seed: u64, sight: &Sight) -> Vec<Fault> {
    let mut nemesis = Nemesis::new(seed, Plan::of(seed));
    (0..1200).flat_map(|tick| nemesis.due(Millis(tick * 100), sight)).collect()
}

#[test]
fn a_seed_gives_the_same_faults_each_time() {
    assert_eq!(faults(3, &sight()), faults(3, &sight()));
}

#[test]
fn every_run_has_tens_of_faults_and_all_of_them_can_be_written_down() {
    for seed in 0..50 {
        let faults = faults(seed, &sight());
        assert!(faults.len() >= 25, "seed {seed} has {} faults", faults.len());
        for fault in faults {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }
}

#[test]
fn no_kind_of_fault_is_forgotten() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for fault in (0..300).flat_map(|seed| faults(seed, &sight())) {
        *counts.entry(fault.kind()).or_default() += 1;
    }
    assert!(counts.len() >= 40, "{counts:?}");
    assert!(counts.values().all(|count| *count >= 3), "{counts:?}");
}

#[test]
fn a_host_without_power_gets_it_back() {
    let off: HostId = "host3".parse().unwrap();
    let sight = Sight { off: BTreeSet::from([off.clone()]), ..sight() };
    assert!(faults(1, &sight).contains(&Fault::Host(off, HostBlow::PowerOn)));
}

#[test]
fn the_host_that_is_being_fenced_and_the_leader_are_hit_more_often_than_others() {
    let all: Vec<String> = (0..100).flat_map(|seed| faults(seed, &sight())).map(|fault| fault.to_string()).collect();
    let count = |words: &str| all.iter().filter(|fault| fault.contains(words)).count();
    assert!(count("host4") > 2 * count("host5"), "{} and {}", count("host4"), count("host5"));
    assert!(count("controller 2") > count("controller 3"), "{} and {}", count("controller 2"), count("controller 3"));
}
