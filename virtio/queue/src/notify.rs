//! When to notify: the arithmetic of the event indices (virtIO 1.2 §2.7.7, §2.7.10).

/// Whether moving an index from `old` to `new` passes `event`: the other side wants to hear of the
/// entry with index `event`, which is among those from `old` up to but not including `new`.
///
/// Indices count modulo 2¹⁶.
#[doc(alias = "vring_need_event")]
#[must_use]
pub const fn need_event(event: u16, new: u16, old: u16) -> bool {
    // How far `event` lies behind the newest entry, against how many entries are new.
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Counts through the new entries and looks for the one that was asked for.
    fn naive(event: u16, new: u16, old: u16) -> bool {
        let mut index = old;
        while index != new {
            if index == event {
                return true;
            }
            index = index.wrapping_add(1);
        }
        false
    }

    #[test]
    fn nothing_new_is_never_an_event() {
        for event in [0, 1, 0x7fff, 0x8000, 0xffff] {
            assert!(!need_event(event, 5, 5));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_counting(event: u16, old: u16, moved: u16) {
            let new = old.wrapping_add(moved);
            prop_assert_eq!(need_event(event, new, old), naive(event, new, old));
        }

        #[test]
        fn agrees_with_counting_near_the_event(event: u16, before in 0u16..40, moved in 0u16..40) {
            let old = event.wrapping_sub(before);
            let new = old.wrapping_add(moved);
            prop_assert_eq!(need_event(event, new, old), naive(event, new, old));
        }
    }
}
