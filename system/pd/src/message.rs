//! The message registers of the current message.

use crate::sys;
use sel4cp_abi::message::MAX_LENGTH;

/// Message register `index` (0 to 119); 0 beyond.
pub fn get_mr(index: usize) -> u64 {
    if index < MAX_LENGTH {
        sys::message_register(index)
    } else {
        0
    }
}

/// Sets message register `index` (0 to 119); beyond, nothing happens.
pub fn set_mr(index: usize, value: u64) {
    if index < MAX_LENGTH {
        sys::set_message_register(index, value);
    }
}

/// Sets the first message registers.
pub(crate) fn set_mrs(values: &[u64]) {
    for (index, value) in values.iter().enumerate() {
        set_mr(index, *value);
    }
}

/// Calls the kernel object in `slot`: `label` with `values` in the message registers.
///
/// The results are then in the message registers.
pub(crate) fn invoke(slot: u64, label: u32, values: &[u64]) -> Result<(), crate::Error> {
    set_mrs(values);
    let info = crate::MessageInfo::new(label.into(), values.len());
    let answer = sys::call(slot, info).label();
    match answer {
        0 => Ok(()),
        label => Err(crate::Error::from_label(label).unwrap_or(crate::Error::InvalidArgument)),
    }
}
