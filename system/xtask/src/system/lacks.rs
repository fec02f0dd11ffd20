//! What a board lacks: a system is built with what there is, and a line says what it goes without.

use super::board::Board;
use super::model::{Guest, Source};

/// Takes from `guests` what `board` has no hardware or no driver for; a line for each thing, and for the timer.
pub(super) fn take(board: &Board, guests: &mut [Guest]) -> Vec<String> {
    let mut lines = Vec::new();
    if board.transports.is_empty() {
        for guest in guests {
            let name = &guest.name;
            let on = format!("on {}: there is no driver for it", board.name);
            if guest.block.take().is_some() {
                guest.root = Source::None;
                lines.push(format!(
                    "guest {name} gets no [vm.block] {on}, so it has no /dev/vda and stays in its initial RAM disk"
                ));
            }
            if guest.net.take().is_some() {
                lines.push(format!(
                    "guest {name} gets no [vm.net] {on}, so it has no eth0"
                ));
            }
        }
    }
    if board.timer.is_none() {
        lines.push(format!(
            "no timer driver on {}: its kernel keeps the physical timer, so guests that wait for their timer do not sleep",
            board.name
        ));
    }
    lines
}
