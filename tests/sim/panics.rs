//! Panics of tasks, which nobody would notice otherwise: an invariant of the machine that does not hold is one.

use std::{cell::RefCell, sync::Once};

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static WATCHED: RefCell<bool> = const { RefCell::new(false) };
}

static HOOK: Once = Once::new();

/// From now on panics of this thread are kept instead of printed.
pub(crate) fn watch(watched: bool) {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if WATCHED.with_borrow(|watched| *watched) {
                LAST.with_borrow_mut(|last| *last = Some(format!("a task panicked: {info}")));
            } else {
                before(info);
            }
        }));
    });
    WATCHED.set(watched);
}

/// The latest panic of this thread.
pub(crate) fn take() -> Option<String> {
    LAST.with_borrow_mut(Option::take)
}
