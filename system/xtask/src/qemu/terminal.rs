//! The person's terminal while a guest has it: every key goes to the guest, and afterwards everything is as before.

use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::ChildStdin;
use std::sync::{Mutex, PoisonError};

/// The terminal's settings before it was made raw: for whoever restores them first.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Status of a tool that a signal ended.
const ENDED_BY_SIGNAL: i32 = 130;

/// While it exists, the terminal is raw. It is restored when this is dropped (also by a panic), and when a signal
/// ends the tool.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Makes standard input's terminal raw; does nothing if it is none.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn new() -> anyhow::Result<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(Self(()));
        }
        let before = tcgetattr(&input)?;
        let mut raw = before.clone();
        raw.make_raw();
        // The guest's lines end with both, ours and the kernel's with a line feed alone.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // Fails only if there is a handler already, which then is this one.
        let _ = ctrlc::set_handler(|| {
            restore();
            std::process::exit(ENDED_BY_SIGNAL);
        });
        tcsetattr(&input, OptionalActions::Drain, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = saved {
        // There is nobody left to tell if the terminal is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &before);
    }
}

/// Copies standard input to `to` until either ends, in a thread of its own.
pub fn copy_input(mut to: ChildStdin) {
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0; 1024];
        while let Ok(count) = input.read(&mut buffer) {
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            if to.write_all(bytes).and_then(|()| to.flush()).is_err() {
                break;
            }
        }
        // A guest goes on when its input has ended: its line stays open.
        std::mem::forget(to);
    });
}
