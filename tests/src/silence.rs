//! What may fail, and is meant to, fails in silence: nobody has to wonder whether a test went wrong.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

thread_local! {
    /// Whether this thread may fail in silence.
    static IS_SILENT: Cell<bool> = const { Cell::new(false) };
    /// The file in which it last did.
    static FAILED_IN: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Ends the silence, however the work ended.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        IS_SILENT.set(false);
    }
}

/// Does the work; of panics in this thread nothing is printed meanwhile.
pub fn in_silence<R>(work: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match panic.location() {
            Some(location) if IS_SILENT.get() => FAILED_IN.set(Some(location.file().to_owned())),
            Some(_) | None => loud(panic),
        }));
    });
    FAILED_IN.take();
    IS_SILENT.set(true);
    let _loud = Loud;
    work()
}

/// The source file of the last panic in the last silence of this thread.
#[must_use]
pub fn failed_in() -> Option<String> {
    FAILED_IN.with_borrow(Clone::clone)
}
