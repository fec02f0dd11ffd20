//! Secure monitor calls, for PDs with `smc="true"`.

use crate::Error;
use crate::message::{get_mr, invoke};
use crate::state::with;
use sel4cp_abi::slot;

/// Makes the secure monitor call with `arguments` in x0 to x7 and returns x0 to x7.
///
/// # Errors
/// The kernel's: [`Error::InvalidCapability`] if the PD may not.
pub fn smc_call(arguments: [u64; 8]) -> Result<[u64; 8], Error> {
    let label = with(|state| state.labels.get().arm_smc_call);
    invoke(slot::SMC, label, &arguments)?;
    let mut results = [0; 8];
    for (index, result) in results.iter_mut().enumerate() {
        *result = get_mr(index);
    }
    Ok(results)
}
