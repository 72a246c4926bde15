//! The search for an order: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the memory of
//! configurations of Lowe, "Testing for Linearizability" (2017).

use std::collections::HashMap;

use super::partition::{Action, Op, Problem, UNSEEN};

/// What came out for one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// An order explains every answer.
    Linearizable,
    /// None does.
    Broken(Stuck),
    /// The budget ended first.
    Undecided,
}

/// How far the longest explanation came. Operations are named by their first lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stuck {
    /// The operations that it explains, in order.
    pub order: Vec<usize>,
    /// The object's state behind them.
    pub state: String,
    /// The operation that had to come next, at the latest.
    pub blocked: Vec<usize>,
}

/// Returns the state after an action; none when the object would have answered otherwise.
pub fn step(state: u32, action: Action) -> Option<u32> {
    let when = |holds: bool, next: u32| holds.then_some(next);
    match action {
        Action::Read(value) => when(state == value, state),
        Action::Write(value) => Some(value),
        Action::Take(value) | Action::MayCreate(value) => Some(if state == 0 { value } else { state }),
        Action::Free => Some(0),
        Action::Created(value) => when(state == 0, value),
        Action::Existed => when(state != 0, state),
        // A ticket's state is 0 before it is issued, then one more than the uses that are left.
        Action::Issued(uses) => when(state == 0, uses + 1),
        Action::MayIssue(uses) => Some(if state == 0 { uses + 1 } else { state }),
        Action::Used => when(state > 1, state.saturating_sub(1)),
        Action::NotUsed => when(state <= 1, state),
        Action::MayUse => Some(if state > 1 { state - 1 } else { state }),
    }
}

/// Whether an action that is legal can come first at once, because in every order that has it later it could as well
/// come now.
///
/// What only looks changes nothing. What nobody sees changes nothing that anybody sees: put off until it would take
/// effect, it would only be there until the next change, unseen.
fn comes_first(state: u32, action: Action) -> bool {
    match action {
        Action::Read(_) | Action::Existed | Action::NotUsed => true,
        Action::Take(value) => value == UNSEEN && state != 0,
        Action::Write(value) => value == UNSEEN && state == UNSEEN,
        Action::Free
        | Action::Created(_)
        | Action::MayCreate(_)
        | Action::Issued(_)
        | Action::MayIssue(_)
        | Action::Used
        | Action::MayUse => false,
    }
}

/// Decides one object within `budget` steps, and returns how many it took.
pub fn decide(problem: &Problem, budget: u64) -> (Decision, u64) {
    Search::new(problem).run(budget)
}

struct Search<'a> {
    problem: &'a Problem,
    state: u32,
    closed: Bits,
    open: Bits,
    /// The first closed operation without a place.
    head: usize,
    /// The operations with a place, in order: closed ones by number, open ones behind them.
    order: Vec<usize>,
    /// Configurations that were reached, each with the fewest open operations that it took. One that has used up
    /// the same and more can do nothing that the other cannot.
    seen: HashMap<Box<[u64]>, Vec<Box<[u64]>>>,
    longest: Option<Stuck>,
}

/// A choice that can be taken back.
struct Frame {
    choices: Vec<usize>,
    /// The state and the head before the choice.
    before: (u32, usize),
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem) -> Self {
        Self {
            problem,
            state: problem.start,
            closed: Bits::new(problem.closed.len()),
            open: Bits::new(problem.open.len()),
            head: 0,
            order: Vec::new(),
            seen: HashMap::new(),
            longest: None,
        }
    }

    fn run(mut self, budget: u64) -> (Decision, u64) {
        let mut steps = 0;
        let Some(choices) = self.choices() else { return (Decision::Linearizable, steps) };
        let mut frames = vec![Frame { choices, before: (self.state, self.head) }];
        while let Some(frame) = frames.last_mut() {
            let Some(choice) = frame.choices.pop() else {
                frames.pop();
                if let Some(below) = frames.last() {
                    self.take_back(below.before);
                }
                continue;
            };
            steps += 1;
            if steps > budget {
                return (Decision::Undecided, steps);
            }
            let before = frame.before;
            self.place(choice);
            if !self.is_news() {
                self.take_back(before);
                continue;
            }
            let Some(choices) = self.choices() else { return (Decision::Linearizable, steps) };
            frames.push(Frame { choices, before: (self.state, self.head) });
        }
        (Decision::Broken(self.longest.unwrap_or_default()), steps)
    }

    fn op(&self, number: usize) -> &'a Op {
        let closed = &self.problem.closed;
        closed.get(number).unwrap_or_else(|| &self.problem.open[number - closed.len()])
    }

    /// Returns what can come next, the best last; none when every closed operation has its place.
    fn choices(&mut self) -> Option<Vec<usize>> {
        let (closed, open) = (&self.problem.closed, &self.problem.open);
        let mut deadline = usize::MAX;
        let mut next = Vec::new();
        for (number, op) in closed.iter().enumerate().skip(self.head).filter(|(number, _)| !self.closed.has(*number)) {
            if op.begin > deadline {
                break;
            }
            deadline = deadline.min(op.end);
            next.push(number);
        }
        if next.is_empty() {
            return None;
        }
        let latest = next.iter().copied().find(|number| closed[*number].end == deadline);
        next.retain(|number| step(self.state, closed[*number].action).is_some());
        if let Some(first) = next.iter().copied().find(|number| comes_first(self.state, closed[*number].action)) {
            return Some(vec![first]);
        }
        next.sort_by_key(|number| std::cmp::Reverse(closed[*number].end));
        let mut tried: Vec<Action> = Vec::new();
        let mut unforced = Vec::new();
        for (number, op) in open.iter().enumerate().take_while(|(_, op)| op.begin < deadline) {
            // Open operations that are alike take their places in the order of their beginnings.
            if self.open.has(number) || tried.contains(&op.action) {
                continue;
            }
            tried.push(op.action);
            if step(self.state, op.action).is_some_and(|after| after != self.state) {
                unforced.push(closed.len() + number);
            }
        }
        unforced.extend(next);
        if unforced.is_empty() {
            self.remember(latest);
        }
        Some(unforced)
    }

    fn remember(&mut self, latest: Option<usize>) {
        if self.longest.as_ref().is_some_and(|longest| longest.order.len() >= self.order.len()) {
            return;
        }
        let name = || self.problem.names.get(usize::try_from(self.state).unwrap_or(usize::MAX)).cloned();
        let is_ticket = self
            .problem
            .closed
            .iter()
            .any(|op| matches!(op.action, Action::Used | Action::NotUsed | Action::Issued(_)));
        let state = match (is_ticket, self.state) {
            (true, 0) => "not issued".into(),
            (true, state) => format!("good for {} uses", state - 1),
            (false, _) => name().unwrap_or_default(),
        };
        let order = self.order.iter().map(|number| self.op(*number).begin).collect();
        self.longest =
            Some(Stuck { order, state, blocked: latest.map(|number| self.op(number).begin).into_iter().collect() });
    }

    fn place(&mut self, number: usize) {
        let op = self.op(number);
        self.state = step(self.state, op.action).expect("only what is legal is chosen");
        self.order.push(number);
        match number.checked_sub(self.problem.closed.len()) {
            Some(open) => self.open.set(open, true),
            None => self.closed.set(number, true),
        }
        while self.head < self.problem.closed.len() && self.closed.has(self.head) {
            self.head += 1;
        }
    }

    fn take_back(&mut self, before: (u32, usize)) {
        let number = self.order.pop().expect("a choice is taken back once");
        match number.checked_sub(self.problem.closed.len()) {
            Some(open) => self.open.set(open, false),
            None => self.closed.set(number, false),
        }
        (self.state, self.head) = before;
    }

    /// Whether no configuration was reached before that could do all that this one can.
    fn is_news(&mut self) -> bool {
        let key = self.key();
        let reached = self.seen.entry(key).or_default();
        let open = &self.open.words;
        let within = |less: &[u64], more: &[u64]| less.iter().zip(more).all(|(less, more)| less & !more == 0);
        if reached.iter().any(|other| within(other, open)) {
            return false;
        }
        reached.retain(|other| !within(open, other));
        reached.push(open.as_slice().into());
        true
    }

    /// Names a configuration: the state and which closed operations have a place, and nothing of the order.
    fn key(&self) -> Box<[u64]> {
        let mut key = vec![u64::from(self.state), self.head as u64];
        let window = &self.closed.words[(self.head / 64).min(self.closed.words.len())..];
        let last = window.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        key.extend(&window[..last]);
        key.into()
    }
}

struct Bits {
    words: Vec<u64>,
}

impl Bits {
    fn new(bits: usize) -> Self {
        Self { words: vec![0; bits.div_ceil(64)] }
    }

    fn has(&self, bit: usize) -> bool {
        self.words[bit / 64] & (1 << (bit % 64)) != 0
    }

    fn set(&mut self, bit: usize, to: bool) {
        let mask = 1 << (bit % 64);
        if to { self.words[bit / 64] |= mask } else { self.words[bit / 64] &= !mask }
    }
}
