use super::*;

/// One of each kind, as scripts write it.
const ALL: [&str; 66] = [
    "controller 2 kill",
    "controller leader power-cut",
    "controller all power-cut",
    "controller 1 start",
    "controller leader pause 2500ms",
    "controller 3 snapshot",
    "controller leader hand-over",
    "controller leader stall fence-after-permit 5s",
    "controller 2 wipe",
    "host host2 stall agent-before-start 1500ms",
    "disk 1 flip log",
    "disk 1 flip meta",
    "disk 2 flip records",
    "member add",
    "member demote 3",
    "member promote 3",
    "member remove 3",
    "disk 1 works",
    "disk 1 slow 200ms",
    "disk 1 fail-sync",
    "disk 1 full",
    "clock 2 +3600000ms",
    "clock 2 -500ms",
    "cut controller 1 -> host host2",
    "join bmc host2 -> controller 3",
    "isolate host host2",
    "isolate bmc host2",
    "rejoin controller 2",
    "weather loss 5% duplicate 2% delay 100ms",
    "host host2 power-cut",
    "host host2 power-on",
    "host host2 reboot",
    "host host2 freeze 10s",
    "host host2 restart-agent",
    "bmc host2 works",
    "bmc host2 silent",
    "bmc host2 ignores",
    "bmc host2 refuses-login",
    "bmc host2 late 5s",
    "bmc host2 stale",
    "bmc host2 busy",
    "bmc host2 powers-back-on 2s",
    "bmc host2 loses-answer",
    "hypervisor host2 works",
    "hypervisor host2 fails",
    "hypervisor host2 hangs",
    "hypervisor host2 loses-answer",
    "hypervisor host2 late 3s",
    "operator arm",
    "operator disarm",
    "operator start-maintenance host2",
    "operator end-maintenance host2",
    "operator confirm-dead host2",
    "operator insist-dead host2",
    "operator enrol host2 none",
    "operator enrol host2 bmc+pdu ipmi bmc-of-host3 cabled-to-host3 strange-bmc",
    "operator set permit_life = 20000",
    "operator set proofs = [\"Human\"]",
    "instance vm2a end",
    "instance vm2a start host3",
    "instance vm2a migrate host3",
    "instance vm2a move host3",
    "explain host2",
    "weather loss 0% duplicate 0% delay 0s",
    "rejoin host host2",
    "heal",
];

#[test]
fn every_fault_reads_back_as_it_is_written() {
    for text in ALL {
        let fault: Fault = text.parse().unwrap();
        assert_eq!(fault.to_string(), text);
    }
}

#[test]
fn what_is_no_fault_is_refused_with_the_word_that_is_wrong() {
    for (text, why) in [
        ("", "a subject is missing"),
        ("cotroller 1 kill", "nothing is called 'cotroller'"),
        ("controller x kill", "'x' is no controller's number"),
        ("controller 1 explode", "'explode' happens to no controller"),
        ("controller 1 pause", "a time such as 500ms or 3s is missing"),
        ("controller 1 pause 5", "'5' is no time such as 500ms or 3s"),
        ("controller 1 kill twice", "'twice' is one word too many"),
        ("cut host host1 host host2", "'host' stands where '->' belongs"),
        ("weather loss 101% duplicate 0% delay 0s", "'101%' is above 100%"),
        ("clock 1 500", "'500' is no jump such as +500ms"),
        ("controller 1 stall nowhere 5s", "there is no stall point 'nowhere'"),
        ("controller 1 stall agent-before-start 5s", "controllers never come by agent-before-start"),
        ("host host1 stall fence-after-permit 5s", "agents never come by fence-after-permit"),
        ("disk 1 flip coin", "no disk holds 'coin': log, meta or records"),
        ("instance vm2a explode", "'explode' happens to no instance"),
        ("operator enrol host2", "a level such as bmc or bmc+pdu, or 'none', is missing"),
        (
            "operator enrol host2 axe",
            "'axe' is no fencing device: bmc, pdu, ipmi, strange-bmc, bmc-of-HOST or cabled-to-HOST",
        ),
        ("operator set speed", "'speed' is no setting such as permit_life = 20000"),
        ("isolate rack 1", "'rack' is no place: controller, host or bmc"),
    ] {
        assert_eq!(text.parse::<Fault>().unwrap_err().why, why, "{text}");
    }
}

#[test]
fn a_kind_has_no_names_and_numbers() {
    let kind = |text: &str| text.parse::<Fault>().unwrap().kind();
    assert_eq!(kind("cut controller 1 -> host host2"), "cut controller host");
    assert_eq!(kind("bmc host2 late 5s"), "bmc late");
    assert_eq!(kind("controller leader pause 2500ms"), "controller leader pause");
}
