//! Which seeds the randomised cases run, and how a failing one is told.

use std::any::Any;
use std::cell::RefCell;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::harness::SetupError;

/// The seeds of one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seeds {
    /// Only this one (`ELECTRODE_SEED`).
    pub one: Option<u64>,
    /// This many, from 1 on (`ELECTRODE_SEEDS`); otherwise each case's own number.
    pub count: Option<u64>,
}

impl Seeds {
    /// As the environment says.
    ///
    /// # Errors
    /// Names the variable that is not a number.
    pub fn from_env() -> Result<Self, String> {
        let number = |name: &str| match env::var(name) {
            Ok(text) => text
                .trim()
                .parse()
                .map(Some)
                .map_err(|_| format!("{name}={text} is not a number: give a whole one")),
            Err(_) => Ok(None),
        };
        Ok(Self { one: number("ELECTRODE_SEED")?, count: number("ELECTRODE_SEEDS")? })
    }

    /// The first seed, which cases that need just one run with.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.one.unwrap_or(1)
    }

    pub(crate) fn each(
        &self,
        default_count: u64,
        mut run: impl FnMut(u64) -> Result<(), SetupError>,
    ) -> Result<(), SetupError> {
        let seeds = match self.one {
            Some(seed) => seed..=seed,
            None => 1..=self.count.unwrap_or(default_count),
        };
        for seed in seeds {
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(result) => result?,
                Err(panic) => {
                    let message = panic_message(&*panic);
                    panic!("seed {seed} fails (ELECTRODE_SEED={seed} repeats it): {message}")
                }
            }
        }
        Ok(())
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}

thread_local! {
    static PLACE: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
}

/// Keeps panics off the terminal: they are how cases fail, and outcomes tell them in their place.
pub(crate) fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            // Of nested panics (a seed's, then the case's) the first is where it went wrong.
            let place = info.location().map(|place| (place.file().to_owned(), place.line()));
            PLACE.with_borrow_mut(|first| *first = first.take().or(place));
        }));
    });
}

/// Where this thread's case went wrong, once.
pub(crate) fn take_place() -> String {
    let place = PLACE.take();
    place.map_or_else(String::new, |(file, line)| format!("\n  at {file}:{line}"))
}
