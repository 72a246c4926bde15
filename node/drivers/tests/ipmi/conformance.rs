//! The conformance suite, against two BMCs by different people, in both cipher suites.

use quorumfence_drivers::fencing::conformance;

use crate::bench::{BmcBench, Maker, ProxiedBench};

#[tokio::test]
async fn openipmi_directly() {
    conformance::all(&BmcBench::start(Maker::Openipmi).await).await;
}

#[tokio::test]
async fn pyghmi_with_a_bmc_key() {
    for suite in [3, 17] {
        conformance::all(&BmcBench::start(Maker::Pyghmi { suite, kg: Some("a key of the BMC") }).await).await;
    }
}

#[tokio::test]
async fn openipmi_in_bad_weather() {
    conformance::all_in_bad_weather(&ProxiedBench::start(Maker::Openipmi).await).await;
}

#[tokio::test]
async fn pyghmi_in_suite_3_in_bad_weather() {
    conformance::all_in_bad_weather(&ProxiedBench::start(Maker::Pyghmi { suite: 3, kg: None }).await).await;
}

#[tokio::test]
async fn pyghmi_in_suite_17_in_bad_weather() {
    conformance::all_in_bad_weather(&ProxiedBench::start(Maker::Pyghmi { suite: 17, kg: None }).await).await;
}
