//! Panics of a simulation, also those of tasks that nobody waits for.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// Panics on this thread since somebody looked; none is kept while nobody does.
    static CAUGHT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Returns what `play` returns, and the first panic under it. A simulation runs on the thread that plays it.
pub(super) fn caught<T>(play: impl FnOnce() -> T) -> (T, Option<String>) {
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let is_ours = CAUGHT.with_borrow_mut(|caught| {
                caught.as_mut().map(|caught| caught.push(panic.to_string().replace('\n', " "))).is_some()
            });
            if !is_ours {
                others(panic);
            }
        }));
    });
    CAUGHT.set(Some(Vec::new()));
    let played = play();
    let caught = CAUGHT.take();
    (played, caught.and_then(|caught| caught.into_iter().next()))
}
