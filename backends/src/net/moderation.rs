//! Fewer notifications from a guest that sends much.
//!
//! A guest's TCP cuts its window in two, and sends a half for each acknowledgement of one. As this domain comes before the guest, each half
//! would be sent, and acknowledged, before the guest can make the other one: twice the exits and changes of domain for the same
//! bytes. So a guest that has sent one long frame need not notify of the next one (virtIO 1.2 §2.7.10, `avail_event`), but of the
//! one after that: then both are sent, and one acknowledgement answers both.
//!
//! Short frames mostly wait for an answer each, or are one. But when many have come one after another, and none for the guest in between, it
//! sends what nobody answers, as by UDP: then it need not notify of the next 31.
//!
//! A guest that receives by several connections answers each of them, and each answer brings new frames by that one alone: many turns
//! with the frames of one, where few with those of all would do. So when many such answers were of another connection than the one before,
//! it need not notify of the next one, and if that comes before it pauses, and is of another connection, of the next three, and then seven.
//!
//! If those do not come, the guest pauses or goes on with something else: the domain in `pause.rs` tells. After frames that have waited
//! for nothing there is a while without this.
//!
//! The same news ends a wait of this domain's own. One frame may be made into thousands, which takes much longer than it took the guest to
//! ask for them, and no other guest runs meanwhile. So after so many the next ones wait until this guest has paused, or its
//! turn is over, and the others have had theirs.

use super::{Counters, counter};
use core::sync::atomic::Ordering::Relaxed;
use sel4cp_ring::shared::PausePage;

/// Bytes of the shortest frame that is long.
const LONG: u64 = 8 << 10;
/// After so many short frames in a row others follow. A round of TCP has fewer.
const ROW: u32 = 64;
/// Of how many frames after a long one the guest need not notify, after short ones in a row, and at most after short ones that are answers.
const AFTER_LONG: u16 = 1;
const AFTER_SHORT: u16 = 31;
const AFTER_ANSWERS: u16 = 7;
/// How many such frames are notified of after some that have waited in vain: at least, and at most.
const LEAST: u32 = 64;
const MOST: u32 = 8192;

/// Where to ask for the guest's next pause.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// The page that is shared with who tells.
    pub page: &'static PausePage,
    /// How many frames may be made here between two of them; 0: as many as the guest asks for.
    pub most_made: u32,
}

/// Whether frames may wait for others: after some that have waited for nothing there is a rest, each time a longer one.
struct Habit {
    /// Frames until it may be so again, and after the next ones that wait in vain.
    rest: u32,
    next_rest: u32,
    /// How often enough have come together since those.
    gains: u32,
}

impl Habit {
    const fn new() -> Self {
        Self {
            rest: 0,
            next_rest: LEAST,
            gains: 0,
        }
    }

    const fn is_allowed(&self) -> bool {
        self.rest == 0
    }

    /// One more of what is counted.
    const fn count(&mut self) {
        self.rest = self.rest.saturating_sub(1);
    }

    const fn gain(&mut self) {
        self.gains += 1;
        if self.gains >= self.next_rest {
            (self.next_rest, self.gains) = (LEAST, 0);
        }
    }

    fn vain(&mut self) {
        (self.rest, self.gains) = (self.next_rest, 0);
        self.next_rest = (2 * self.next_rest).min(MOST);
    }
}

pub(super) struct Moderation {
    /// If anybody tells.
    pauses: Option<Pauses>,
    asked: u32,
    /// It has not been told yet; and the other domain is to be notified that it asks.
    waits: bool,
    asks: bool,
    /// The guest has EVENT_IDX.
    possible: bool,
    /// One of the last frames was long, which were taken together, and how many those are so far.
    long: bool,
    frames: u32,
    /// Short frames since the last long one and the last one for the guest.
    row: u32,
    /// The connection of the last answer, how many were of another one than that before since the last long frame, and whether there was
    /// one among the last frames.
    connection: u32,
    changes: u32,
    several: bool,
    /// Of how many frames the guest does not notify, or did not of the first of the last ones; and whether those are answers.
    defers: u16,
    answers: bool,
    /// The guest has paused since.
    paused: bool,
    /// Long frames and those in a row may wait, answers may, and more of these may.
    many: Habit,
    few: Habit,
    more: Habit,
    /// Of how many answers the guest need not notify.
    level: u16,
    /// Frames that were made here since the guest paused.
    made: u64,
    /// They are enough, and its pause was asked for.
    gives_way: bool,
}

impl Moderation {
    pub(super) const fn new(pauses: Option<Pauses>) -> Self {
        Self {
            pauses,
            asked: 0,
            waits: false,
            asks: false,
            possible: false,
            long: false,
            frames: 0,
            row: 0,
            connection: 0,
            changes: 0,
            several: false,
            defers: 0,
            answers: false,
            paused: false,
            many: Habit::new(),
            few: Habit::new(),
            more: Habit::new(),
            level: 1,
            made: 0,
            gives_way: false,
        }
    }

    /// For a guest that has EVENT_IDX, or not.
    pub(super) const fn start(&mut self, possible: bool) {
        (self.possible, self.long, self.frames) = (possible, false, 0);
        (self.row, self.changes) = (0, 0);
        (self.defers, self.paused) = (0, false);
    }

    /// The guest has made a frame of `bytes` bytes available, which belongs to a `connection`.
    pub(super) fn taken(&mut self, bytes: u64, connection: impl FnOnce() -> u32) {
        let long = bytes >= LONG;
        // A short one at the end of what a program has written ends nothing.
        self.long = long || self.long && self.frames != 0;
        if long {
            (self.row, self.changes) = (0, 0);
        } else {
            self.row = self.row.saturating_add(1);
        }
        if long || self.row > ROW {
            self.many.count();
        } else {
            self.few.count();
            let last = core::mem::replace(&mut self.connection, connection());
            if last != self.connection {
                self.changes = self.changes.saturating_add(1);
                self.several |= self.frames != 0;
            }
        }
        self.frames = self.frames.saturating_add(1);
    }

    /// There is a frame for the guest.
    pub(super) const fn received(&mut self) {
        self.row = 0;
    }

    /// All frames are taken. Of how many more the guest, whose queue has `size` entries, need not notify; asks for its pause if there are
    /// any.
    pub(super) fn skipped(&mut self, size: u16, counters: &mut Counters) -> u16 {
        self.judge(counters);
        self.defers = 0;
        let Some(pauses) = self.pauses else {
            return 0;
        };
        let (more, habit) = match (self.long, self.row, self.changes) {
            (true, ..) => (AFTER_LONG, &self.many),
            (false, ROW.., _) => (AFTER_SHORT, &self.many),
            (false, _, ROW..) => (self.level, &self.few),
            _ => return 0,
        };
        // It must not wait for the entries of those that it has not notified of.
        let more = more.min(size / 4);
        if more != 0 && self.possible && habit.is_allowed() {
            self.defers = more;
            self.answers = !self.long && self.row < ROW;
            self.ask(pauses.page);
        }
        self.defers
    }

    /// Asks for the guest's next pause.
    fn ask(&mut self, page: &PausePage) {
        self.asked = self.asked.wrapping_add(1);
        page.asked.store(self.asked, Relaxed);
        self.asks |= !self.waits;
        self.waits = true;
    }

    /// So many more frames were made here.
    pub(super) const fn made(&mut self, frames: u64) {
        self.made = self.made.saturating_add(frames);
    }

    /// Whether no more are to be made until the guest has paused; asks for that.
    pub(super) fn is_enough(&mut self) -> bool {
        let Some(pauses) = self.pauses else {
            return false;
        };
        let enough = pauses.most_made != 0 && self.made >= u64::from(pauses.most_made);
        if enough && !self.gives_way {
            self.gives_way = true;
            self.ask(pauses.page);
        }
        enough
    }

    /// Whether it was right not to be notified of the frames that have been taken.
    fn judge(&mut self, counters: &mut Counters) {
        let (frames, defers) = (self.frames, u32::from(self.defers));
        self.frames = 0;
        let several = core::mem::take(&mut self.several);
        let paused = core::mem::take(&mut self.paused);
        if defers == 0 || frames == 0 {
            if paused {
                (self.long, self.row) = (false, 0);
            }
            return;
        }
        counters.add(counter::UNNOTIFIED, u64::from(frames.min(defers + 1) - 1));
        if self.answers {
            self.judge_answers(frames > defers, several, paused);
        } else if 2 * frames > defers + 1 {
            self.many.gain();
        } else if paused {
            // The guest is at something else, and may be so again.
            self.many.vain();
            (self.long, self.row, self.changes) = (false, 0, 0);
        }
    }

    /// The same of answers. Enough are only as many as the guest has notified of: others have waited for its pause, which while it is busy
    /// takes longer than what they bring about. All of one connection are no better: the first one alone would have brought more frames earlier.
    fn judge_answers(&mut self, enough: bool, several: bool, paused: bool) {
        if enough && several {
            self.few.gain();
            self.more.count();
            if self.level > 1 {
                self.more.gain();
            }
            if self.more.is_allowed() {
                self.level = (2 * self.level + 1).min(AFTER_ANSWERS);
            }
        } else if (enough || paused) && self.level > 1 {
            self.level /= 2;
            self.more.vain();
        } else if enough || paused {
            self.few.vain();
        }
    }

    /// The guest has paused since it was last asked for. That means nothing to frames that have been taken already.
    pub(super) const fn paused(&mut self) {
        (self.waits, self.paused) = (false, self.defers != 0 && self.frames == 0);
        (self.made, self.gives_way) = (0, false);
    }

    /// Whether the other domain is to be notified; asked once.
    pub(super) const fn take_ask(&mut self) -> bool {
        core::mem::replace(&mut self.asks, false)
    }
}
