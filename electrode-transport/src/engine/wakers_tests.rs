//! Wakers: each woken once, none lost, none kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_that_registers_twice_is_woken_once() {
    let task = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&task));
    let mut wakers = Wakers::default();
    wakers.register(Interest::Log, &waker);
    wakers.register(Interest::Log, &waker);
    wakers.register(Interest::Quorum, &waker);
    assert!(wakers.is_waiting(Interest::Log) && !wakers.is_waiting(Interest::Message));
    let mut list = WakeList::default();
    wakers.fire(Interest::Log, &mut list);
    assert!(!wakers.is_waiting(Interest::Log) && wakers.is_waiting(Interest::Quorum));
    assert_eq!(task.0.load(Ordering::Relaxed), 0, "not under the lock");
    list.wake();
    assert_eq!(task.0.load(Ordering::Relaxed), 1);
}

#[test]
fn more_tasks_than_fit_inline_are_all_woken() {
    let tasks: Vec<_> = (0..3 * INLINE).map(|_| Arc::new(Count::default())).collect();
    let mut wakers = Wakers::default();
    for (place, task) in tasks.iter().enumerate() {
        let interest = if place % 2 == 0 { Interest::Quorum } else { Interest::Window };
        wakers.register(interest, &Waker::from(Arc::clone(task)));
    }
    let mut list = WakeList::default();
    wakers.fire_all(&mut list);
    list.wake();
    for task in &tasks {
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(task), 1, "no waker is kept");
    }
}
