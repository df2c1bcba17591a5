//! Proves that the counts of `cairn bench` are those of real validators: two syncs per height and one signature check
//! per transfer.

mod program;

use program::{Cairn, json};

#[test]
fn bench_prints_a_table_of_counts_and_removes_its_files() {
    let cairn = Cairn::new();
    let said = cairn.run(&[
        "bench",
        "--workload",
        "empty,half",
        "--rate",
        "50",
        "--duration",
        "2s",
        "--senders",
        "20",
        "--json",
        "-",
    ]);
    let results = json(&said.succeeds());
    let [empty, half] = &results["workloads"].as_array().unwrap()[..] else { panic!("two workloads: {results}") };
    assert_eq!((&empty["workload"], &half["workload"]), (&"empty".into(), &"half".into()));
    for figures in [empty, half] {
        let syncs = figures["syncs_per_height"].as_f64().unwrap();
        assert!((1.8..=2.2).contains(&syncs), "two syncs a height, but for the heights at both ends: {figures}");
        assert!(figures["heights_per_s"].as_f64().unwrap() > 0.0 && figures["memory_bytes"].as_f64().unwrap() > 1e6);
    }
    assert!(empty["transfers_per_s"].is_null() && empty["signature_checks_per_transfer"].is_null());
    assert_eq!(half["failed"], 0);
    let checks = half["signature_checks_per_transfer"].as_f64().unwrap();
    assert!((0.99..=1.01).contains(&checks), "each validator checks each signature once: {half}");
    assert!(results["machine"]["sync_us"].as_f64().unwrap() > 0.0);
    assert!(!cairn.folder().join("bench-testnet").exists());

    let refused = cairn.run(&["bench", "--json", "none/x.json"]).fails();
    assert!(refused.contains("none/x.json"), "before it measures: {refused}");
    let refused = cairn.run(&["bench", "--dir", "."]).fails();
    assert!(refused.contains("--dir"), "{refused}");
}
