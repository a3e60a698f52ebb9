//! What clients saw, and whether one register for each key could have answered so.

use std::collections::BTreeMap;

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History as Checked};
use todc_utils::specifications::Specification;

/// One operation on a key with what came of it. Every written value is unique in its run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Put(u64),
    Get(u64),
    Cas {
        expect: u64,
        new: u64,
        swapped: bool,
    },
    /// A compare-and-swap whose answer nobody heard.
    MaybeCas {
        expect: u64,
        new: u64,
    },
}

struct Register;

impl Specification for Register {
    type State = u64;
    type Operation = Operation;

    fn init() -> u64 {
        0
    }

    fn apply(operation: &Operation, state: &u64) -> (bool, u64) {
        match *operation {
            Operation::Put(value) => (true, value),
            Operation::Get(value) => (value == *state, *state),
            Operation::Cas { expect, new, swapped } => {
                let matches = expect == *state;
                (matches == swapped, if matches { new } else { *state })
            }
            Operation::MaybeCas { expect, new } => {
                (true, if expect == *state { new } else { *state })
            }
        }
    }
}

/// An operation in the making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct CallId(usize);

#[derive(Clone, Debug)]
struct Call {
    key: u8,
    /// What is to be assumed while no answer is there; reads say nothing then.
    open: Option<Operation>,
    begun: usize,
    ended: Option<(usize, Operation)>,
}

/// Calls and answers in the order in which they happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    calls: Vec<Call>,
    clock: usize,
}

impl History {
    pub(crate) fn begin(&mut self, key: u8, open: Option<Operation>) -> CallId {
        self.clock += 1;
        self.calls.push(Call { key, open, begun: self.clock, ended: None });
        CallId(self.calls.len() - 1)
    }

    pub(crate) fn end(&mut self, call: CallId, operation: Operation) {
        self.clock += 1;
        self.calls[call.0].ended = Some((self.clock, operation));
    }

    pub(crate) fn completed(&self) -> usize {
        self.calls.iter().filter(|call| call.ended.is_some()).count()
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.calls.len() - self.completed()
    }

    /// A number that two equal histories share.
    pub(crate) fn digest(&self) -> u64 {
        let text = format!("{:?}", self.calls);
        text.bytes().fold(7, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// The keys whose histories no register could have answered. Keys are checked one by one, which
    /// is as good as together (Herlihy and Wing, 1990: linearizability is local) and much faster.
    pub(crate) fn violations(&self) -> Vec<u8> {
        let mut by_key: BTreeMap<u8, Vec<(usize, usize, Action<Operation>)>> = BTreeMap::new();
        for (process, call) in self.calls.iter().enumerate() {
            let (end, operation) = match (call.ended, call.open) {
                (Some((end, operation)), _) => (end, operation),
                (None, Some(operation)) => (usize::MAX, operation),
                (None, None) => continue,
            };
            let actions = by_key.entry(call.key).or_default();
            actions.push((call.begun, process, Action::Call(operation)));
            actions.push((end, process, Action::Response(operation)));
        }
        by_key
            .into_iter()
            .filter_map(|(key, mut actions)| {
                actions.sort_by_key(|(at, process, _)| (*at, *process));
                let actions =
                    actions.into_iter().map(|(_, process, action)| (process, action)).collect();
                let holds = WGLChecker::<Register>::is_linearizable(Checked::from_actions(actions));
                (!holds).then_some(key)
            })
            .collect()
    }

    /// A key's calls, for a message.
    pub(crate) fn describe(&self, key: u8) -> String {
        let calls = self.calls.iter().filter(|call| call.key == key);
        calls
            .map(|call| match call.ended {
                Some((end, operation)) => format!("  {}..{end} {operation:?}\n", call.begun),
                None => format!("  {}.. no answer to {:?}\n", call.begun, call.open),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(history: &mut History, value: u64) {
        let call = history.begin(1, Some(Operation::Put(value)));
        history.end(call, Operation::Put(value));
    }

    #[test]
    fn a_sequential_history_holds_and_a_stale_read_does_not() {
        let mut history = History::default();
        put(&mut history, 1);
        put(&mut history, 2);
        let mut stale = history.clone();
        let read = history.begin(1, None);
        history.end(read, Operation::Get(2));
        assert!(history.violations().is_empty());
        let read = stale.begin(1, None);
        stale.end(read, Operation::Get(1));
        assert_eq!(stale.violations(), [1]);
    }

    #[test]
    fn a_lost_write_shows() {
        let mut history = History::default();
        put(&mut history, 1);
        let read = history.begin(1, None);
        history.end(read, Operation::Get(0));
        assert_eq!(history.violations(), [1]);
    }

    #[test]
    fn a_swap_executed_twice_shows() {
        let mut history = History::default();
        for swapped in [true, true] {
            let call = history.begin(1, Some(Operation::MaybeCas { expect: 0, new: 5 }));
            history.end(call, Operation::Cas { expect: 0, new: 5, swapped });
        }
        assert_eq!(history.violations(), [1]);
    }

    #[test]
    fn an_unanswered_write_may_have_happened_or_not_but_not_come_and_gone() {
        let mut history = History::default();
        put(&mut history, 1);
        history.begin(1, Some(Operation::Put(2)));
        let mut flickering = history.clone();
        for value in [1, 2, 2] {
            let read = history.begin(1, None);
            history.end(read, Operation::Get(value));
        }
        assert!(history.violations().is_empty());
        for value in [2, 1] {
            let read = flickering.begin(1, None);
            flickering.end(read, Operation::Get(value));
        }
        assert_eq!(flickering.violations(), [1]);
        assert_eq!((history.completed(), history.unanswered()), (4, 1));
    }

    #[test]
    fn concurrent_calls_may_take_effect_in_any_order_but_one() {
        let mut history = History::default();
        let (one, two) =
            (history.begin(1, Some(Operation::Put(1))), history.begin(1, Some(Operation::Put(2))));
        history.end(one, Operation::Put(1));
        history.end(two, Operation::Put(2));
        let mut both = history.clone();
        for (history, values) in [(&mut history, [1, 1]), (&mut both, [1, 2])] {
            for value in values {
                let read = history.begin(1, None);
                history.end(read, Operation::Get(value));
            }
        }
        assert!(history.violations().is_empty());
        assert_eq!(both.violations(), [1]);
    }
}
