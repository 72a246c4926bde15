//! What an agent does with orders that are early, late, twice, or not for it.

use super::*;
use crate::LogIndex;

const NOW: Millis = Millis(1000);
const ME: BootId = BootId([1; 16]);
const VM: InstanceId = InstanceId([5; 16]);
const LEADER: ControllerId = ControllerId(1);

fn agent() -> Agent {
    Agent::new("host1".parse().expect("a name"), ME, Millis(10_000))
}

fn token(index: u64) -> Token {
    Token(LogIndex(index))
}

fn start(index: u64) -> Order {
    Order { token: token(index), instance: VM, boot: ME, action: Action::Start { definition: "<domain/>".into() } }
}

fn ordered(agent: &mut Agent, order: &Order) -> Vec<Output> {
    agent.handle(Input::Order { from: LEADER, order: order.clone() }, NOW)
}

fn holder(agent: &mut Agent, host: &str, index: u64, boot: Option<BootId>) -> Vec<Output> {
    let holder = Holder { host: host.parse().expect("a name"), token: token(index), boot };
    holding(agent, Holding { holder: Some(holder), strays: Vec::new() })
}

fn holding(agent: &mut Agent, holding: Holding) -> Vec<Output> {
    agent.handle(Input::Holder { instance: VM, holding: Outcome::Observed(holding) }, NOW)
}

fn said(agent: &mut Agent, index: u64, outcome: Outcome<InstanceState>) -> Vec<Output> {
    agent.handle(Input::Hypervisor { instance: VM, token: token(index), outcome }, NOW)
}

fn answers(order: &Order, outcome: Outcome<InstanceState>) -> Vec<Output> {
    vec![answer(LEADER, order, outcome)]
}

const RUNS: Outcome<InstanceState> = Outcome::Observed(InstanceState::Running);

#[test]
fn a_start_is_carried_out_after_the_log_gave_the_instance_to_this_host() {
    let mut agent = agent();
    let order = start(7);
    assert_eq!(ordered(&mut agent, &order), [Output::AskHolder { instance: VM }]);
    assert_eq!(holder(&mut agent, "host1", 7, Some(ME)), [Output::Carry { order: order.clone() }]);
    assert_eq!(said(&mut agent, 7, RUNS), answers(&order, RUNS));
}

#[test]
fn a_start_is_refused_when_the_log_says_anything_else() {
    let other_boot = BootId([2; 16]);
    let table = [("host2", 7, Some(ME)), ("host1", 8, Some(ME)), ("host1", 7, Some(other_boot)), ("host1", 7, None)];
    for (host, index, boot) in table {
        let mut agent = agent();
        let order = start(7);
        ordered(&mut agent, &order);
        let refused = answers(&order, Outcome::Refused(Refusal::NotAssigned));
        assert_eq!(holder(&mut agent, host, index, boot), refused, "{host} {index} {boot:?}");
        assert_eq!(ordered(&mut agent, &order), refused, "a late copy gets the same answer");
    }
}

#[test]
fn without_a_quorum_nothing_is_started_and_the_order_may_come_again() {
    let mut agent = agent();
    let order = start(7);
    ordered(&mut agent, &order);
    let doubt = Outcome::Unknown(Doubt::Unreachable);
    let outputs = agent.handle(Input::Holder { instance: VM, holding: doubt }, NOW);
    assert_eq!(outputs, answers(&order, Outcome::Unknown(Doubt::Unreachable)));
    assert_eq!(ordered(&mut agent, &order), [Output::AskHolder { instance: VM }]);
}

#[test]
fn an_order_for_another_boot_is_refused() {
    let mut agent = agent();
    let order = Order { boot: BootId([2; 16]), ..start(7) };
    assert_eq!(ordered(&mut agent, &order), answers(&order, Outcome::Refused(Refusal::WrongBoot)));
}

#[test]
fn an_older_token_is_refused_after_a_newer_one() {
    let mut agent = agent();
    let (old, new) = (start(7), start(9));
    ordered(&mut agent, &new);
    assert_eq!(ordered(&mut agent, &old), answers(&old, Outcome::Refused(Refusal::OldToken)));
}

#[test]
fn an_order_that_comes_twice_is_carried_out_once_and_answered_to_both() {
    let mut agent = agent();
    let order = start(7);
    ordered(&mut agent, &order);
    let second = ControllerId(2);
    assert_eq!(agent.handle(Input::Order { from: second, order: order.clone() }, NOW), []);
    holder(&mut agent, "host1", 7, Some(ME));
    let both = vec![answer(LEADER, &order, RUNS), answer(second, &order, RUNS)];
    assert_eq!(said(&mut agent, 7, RUNS), both);
}

#[test]
fn a_copy_is_stopped_only_where_the_log_wants_it_stopped_now() {
    let order = Order { action: Action::Stop, ..start(7) };
    let stray = |host: &str, boot| {
        let holder = Holder { host: "host3".parse().expect("a name"), token: token(7), boot: None };
        Holding { holder: Some(holder), strays: vec![Stray { host: host.parse().expect("a name"), boot }] }
    };
    let mut agent = agent();
    let refused = answers(&order, Outcome::Refused(Refusal::NotAssigned));
    for not_here in [Holding::default(), stray("host2", ME), stray("host1", BootId([2; 16]))] {
        assert_eq!(ordered(&mut agent, &order), [Output::AskHolder { instance: VM }]);
        assert_eq!(holding(&mut agent, not_here), refused);
        assert_eq!(agent.refusals(), [], "it may be wanted later");
    }
    ordered(&mut agent, &order);
    assert_eq!(holding(&mut agent, stray("host1", ME)), [Output::Carry { order: order.clone() }]);
}

#[test]
fn the_lease_lasts_from_the_heartbeat_that_a_majority_answered() {
    let mut agent = agent();
    agent.handle(Input::Controllers([1, 2, 3].map(ControllerId).into()), NOW);
    let mut acknowledge = |id, sent| {
        let input = Input::Acknowledged { from: ControllerId(id), sent: Millis(sent), admitted: Some(ME) };
        agent.handle(input, NOW);
        agent.lease_left(NOW)
    };
    assert_eq!(acknowledge(1, 900), Millis::ZERO);
    assert_eq!(acknowledge(2, 500), Millis(9500));
    assert_eq!(acknowledge(3, 800), Millis(9800));
    assert_eq!(acknowledge(3, 100), Millis(9800), "an old answer takes nothing back");
}

#[test]
fn admission_is_told_when_it_changes() {
    let mut agent = agent();
    let mut acknowledged = |admitted| agent.handle(Input::Acknowledged { from: LEADER, sent: NOW, admitted }, NOW);
    assert_eq!(acknowledged(None), []);
    assert_eq!(acknowledged(Some(ME)), [Output::Admitted(true)]);
    assert_eq!(acknowledged(Some(ME)), []);
    assert_eq!(acknowledged(Some(BootId([2; 16]))), [Output::Admitted(false)]);
}

#[test]
fn a_refusal_outlives_the_agent_that_gave_it() {
    let mut first = agent();
    let order = start(7);
    ordered(&mut first, &order);
    holder(&mut first, "host1", 7, Some(ME));
    assert_eq!(first.refusals(), [], "nothing is refused yet");
    let refused = answers(&order, Outcome::Refused(Refusal::Hypervisor));
    assert_eq!(said(&mut first, 7, Outcome::Refused(Refusal::Hypervisor)), refused);
    assert_eq!(first.refusals(), [Refused { instance: VM, token: token(7), refusal: Refusal::Hypervisor }]);

    let mut second = agent();
    second.recall(first.refusals());
    assert_eq!(ordered(&mut second, &order), refused, "a late copy starts nothing");
    assert_eq!(ordered(&mut second, &start(6)), answers(&start(6), Outcome::Refused(Refusal::OldToken)));
    assert_eq!(ordered(&mut second, &start(8)), [Output::AskHolder { instance: VM }], "a newer order is another one");
}

#[test]
fn a_refusal_is_forgotten_once_the_log_gave_the_instance_anew() {
    let mut agent = agent();
    let (old, new) = (start(7), start(9));
    ordered(&mut agent, &old);
    holder(&mut agent, "host1", 7, Some(ME));
    said(&mut agent, 7, Outcome::Refused(Refusal::Hypervisor));
    assert_eq!(agent.refusals(), [Refused { instance: VM, token: token(7), refusal: Refusal::Hypervisor }]);
    ordered(&mut agent, &new);
    assert_eq!(agent.refusals(), []);
    assert_eq!(ordered(&mut agent, &old), answers(&old, Outcome::Refused(Refusal::OldToken)));

    let mut next = self::agent();
    assert_eq!(ordered(&mut next, &old), [Output::AskHolder { instance: VM }]);
    let refused = answers(&old, Outcome::Refused(Refusal::NotAssigned));
    assert_eq!(holder(&mut next, "host1", 9, Some(ME)), refused, "the log repeats it");
}

#[test]
fn the_lease_of_five_controllers_needs_three_and_those_that_left_count_no_more() {
    let mut agent = agent();
    agent.handle(Input::Controllers([1, 2, 3, 4, 5].map(ControllerId).into()), NOW);
    for (id, sent) in [(1, 900), (2, 800), (3, 600), (4, 100)] {
        agent.handle(Input::Acknowledged { from: ControllerId(id), sent: Millis(sent), admitted: None }, NOW);
    }
    assert_eq!(agent.lease_left(NOW), Millis(9600));
    assert_eq!(agent.lease_left(Millis(10_600)), Millis::ZERO, "it is over, and never negative");
    agent.handle(Input::Controllers([2, 4, 5].map(ControllerId).into()), NOW);
    assert_eq!(agent.lease_left(NOW), Millis(9100));
    agent.handle(Input::Controllers([1, 3, 5].map(ControllerId).into()), NOW);
    assert_eq!(agent.lease_left(NOW), Millis::ZERO);
}

#[test]
fn an_agent_is_quarantined_until_its_own_boot_is_admitted() {
    let mut agent = agent();
    assert!(!agent.is_admitted());
    for (admitted, is_admitted) in [(Some(BootId([2; 16])), false), (Some(ME), true), (None, false)] {
        agent.handle(Input::Acknowledged { from: LEADER, sent: NOW, admitted }, NOW);
        assert_eq!(agent.is_admitted(), is_admitted, "{admitted:?}");
    }
}

#[test]
fn what_the_hypervisor_says_about_an_older_order_answers_no_newer_one() {
    let mut agent = agent();
    let order = start(7);
    ordered(&mut agent, &order);
    assert_eq!(said(&mut agent, 6, RUNS), []);
    holder(&mut agent, "host1", 7, Some(ME));
    assert_eq!(said(&mut agent, 8, RUNS), []);
    assert_eq!(said(&mut agent, 7, RUNS), answers(&order, RUNS));
    assert_eq!(said(&mut agent, 7, RUNS), [], "an order is answered once");
}

#[test]
fn an_instance_has_one_open_order() {
    let mut agent = agent();
    ordered(&mut agent, &start(7));
    let newer = start(8);
    assert_eq!(ordered(&mut agent, &newer), answers(&newer, Outcome::Unknown(Doubt::Busy)));
    let stop = Order { action: Action::Stop, ..start(7) };
    assert_eq!(ordered(&mut agent, &stop), answers(&stop, Outcome::Unknown(Doubt::Busy)));
}

#[test]
fn an_agent_takes_so_many_orders_at_once_and_no_more() {
    let mut agent = agent();
    let numbered = |number: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Order { instance: InstanceId(bytes), ..start(7) }
    };
    for number in 0..OPEN_ORDERS_MAX {
        let order = numbered(number);
        assert_eq!(ordered(&mut agent, &order), [Output::AskHolder { instance: order.instance }]);
    }
    let one_more = numbered(OPEN_ORDERS_MAX);
    assert_eq!(ordered(&mut agent, &one_more), answers(&one_more, Outcome::Unknown(Doubt::Busy)));
    let first = numbered(0);
    let unknown = Outcome::Unknown(Doubt::Timeout);
    let over = Input::Hypervisor { instance: first.instance, token: first.token, outcome: unknown.clone() };
    assert_eq!(agent.handle(over, NOW), answers(&first, unknown));
    assert_eq!(ordered(&mut agent, &one_more), [Output::AskHolder { instance: one_more.instance }]);
}

#[test]
fn what_the_log_says_without_an_open_order_moves_nothing() {
    let mut agent = agent();
    assert_eq!(holder(&mut agent, "host1", 7, Some(ME)), []);
    let order = start(7);
    ordered(&mut agent, &order);
    let nobody = Input::Holder { instance: VM, holding: Outcome::Observed(Holding::default()) };
    assert_eq!(agent.handle(nobody, NOW), answers(&order, Outcome::Refused(Refusal::NotAssigned)));
    let mut refused = self::agent();
    ordered(&mut refused, &order);
    let refusal = Input::Holder { instance: VM, holding: Outcome::Refused(Refusal::Privilege) };
    assert_eq!(refused.handle(refusal, NOW), answers(&order, Outcome::Refused(Refusal::Privilege)));
}
